import pytest

from libs.config import ConfigError, load
from services.generation.config import GenerationConfig


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "GENERATION_ANTHROPIC_API_KEY", "GENERATION_ENGINE"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_key_no_provider_is_asked() -> None:
    assert load(GenerationConfig).api_key() == ""


def test_a_key_under_the_common_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "common")
    assert load(GenerationConfig).api_key() == "common"


def test_a_key_of_our_own_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "common")
    monkeypatch.setenv("GENERATION_ANTHROPIC_API_KEY", "own")
    assert load(GenerationConfig).api_key() == "own"


def test_the_extractive_engine_leaves_a_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "common")
    monkeypatch.setenv("GENERATION_ENGINE", "extractive")
    assert load(GenerationConfig).api_key() == ""


def test_a_provider_without_a_key_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENERATION_ENGINE", "anthropic")
    with pytest.raises(ConfigError, match="GENERATION_ANTHROPIC_API_KEY"):
        load(GenerationConfig).api_key()


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "very-secret")
    assert "very-secret" not in repr(load(GenerationConfig))


@pytest.mark.parametrize("missing", ["BASE_URL", "BEST_MODEL"])
def test_chat_completions_need_a_place_and_a_model(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("GENERATION_ENGINE", "openai")
    for name in {"BASE_URL", "BEST_MODEL"} - {missing}:
        monkeypatch.setenv(f"GENERATION_OPENAI_{name}", "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=f"GENERATION_OPENAI_{missing}"):
        load(GenerationConfig).chat_models()
