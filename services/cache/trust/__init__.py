"""How far semantic hits are trusted: looks at hits move the target that they must reach."""

from services.cache.trust.looks import Look, Source
from services.cache.trust.pool import Pool, Standing
from services.cache.trust.regions import Regions
from services.cache.trust.terms import NOT_TRUSTED, TrustTerms
from services.cache.trust.trust import Trust

__all__ = ["NOT_TRUSTED", "Look", "Pool", "Regions", "Source", "Standing", "Trust", "TrustTerms"]
