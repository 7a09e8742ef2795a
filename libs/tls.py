"""Certificates in files, which may be replaced while a process runs."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Pems:
    """A certificate with its key, and whom to trust; each in PEM."""

    certificate: bytes
    key: bytes
    authorities: bytes


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a process's certificate is, its key, and the authorities that it trusts."""

    certificate: Path
    key: Path
    authorities: Path

    def read(self) -> Pems:
        """Return what is in the files now.

        A certificate and its key are replaced one after the other: what is read in between does
        not belong together.

        Raises:
            OSError: one of them cannot be read.
            ssl.SSLError: they are not a certificate, its key and authorities.
        """
        files = (self.certificate, self.key, self.authorities)
        found = Pems(*(path.read_bytes() for path in files))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authorities)
        if found != Pems(*(path.read_bytes() for path in files)):
            raise BlockingIOError("the files change while they are read")
        return found


class Watched:
    """Files, and what was in them when it last fitted together.

    Attributes:
        pems: that.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files for the first time.

        Raises:
            OSError: one of them cannot be read.
            ssl.SSLError: they do not fit together.
        """
        self._files = files
        self.pems = files.read()

    def renew(self) -> bool:
        """Look again; return True if there is something new that fits together."""
        try:
            found = self._files.read()
        except OSError:  # ssl.SSLError is one
            return False
        changed, self.pems = found != self.pems, found
        return changed


async def keep_renewed(watched: Watched, every_s: float = LOOK_EVERY_S) -> None:
    """Look at the files again and again; runs until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(watched.renew)


def server_credentials(watched: Watched) -> grpc.ServerCredentials:
    """Return credentials that show what is watched at each handshake, and ask callers for theirs.

    The files themselves are looked at by `keep_renewed`: handshakes happen on the event loop.
    """
    shown = watched.pems

    def current() -> grpc.ServerCertificateConfiguration:
        chain = [(shown.key, shown.certificate)]
        return grpc.ssl_server_certificate_configuration(chain, shown.authorities)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        if watched.pems == shown:
            return None
        shown = watched.pems
        return current()

    return grpc.dynamic_ssl_server_credentials(
        current(),
        fetch,  # type: ignore[arg-type]  # None: as before
        require_client_authentication=True,
    )


def channel_credentials(pems: Pems) -> grpc.ChannelCredentials:
    """Return credentials of a caller that shows a certificate."""
    return grpc.ssl_channel_credentials(pems.authorities, pems.key, pems.certificate)
