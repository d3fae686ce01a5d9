"""TLS in the relay itself, for a machine without a proxy: two settings, `listen.certificate` and `key`.

TLS 1.2 with forward secrecy and AEAD, or 1.3. No session tickets: they would let a relay recognise who
comes back, and their key would open what it had sealed. A new certificate is read on SIGHUP into the same
context, so that connections go on; a pair that does not fit together is refused and the old one stays.
"""

from __future__ import annotations

import ssl
from typing import Final

from chatserver.config import TlsFiles

CIPHERS_OF_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""With TLS 1.3 OpenSSL's own choice stands: all of its suites have forward secrecy and AEAD."""


class TlsTrouble(Exception):
    """Certificate and key cannot be used. The message is meant for the operator and names files alone."""


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context for the relay's port.

    Raises:
        TlsTrouble: a file is missing, is no PEM file, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_1_2)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    return context


def read_again(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Use what the files hold now, for connections that begin from now on.

    Raises:
        TlsTrouble: they cannot be used; the context is as it was.
    """
    server_context(files)
    _load(context, files)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    for path in (files.certificate, files.key):  # OpenSSL does not say which one it could not read
        try:
            path.open("rb").close()
        except OSError as error:
            raise TlsTrouble(f"{path} cannot be read ({error.strerror})") from None
    try:
        # A password would be asked for on a terminal that a service does not have.
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError:
        raise TlsTrouble(
            f"{files.certificate} and {files.key} are no certificate chain and unencrypted private key, in"
            " PEM,"
            " that belong together"
        ) from None


def _no_password() -> str:
    return ""
