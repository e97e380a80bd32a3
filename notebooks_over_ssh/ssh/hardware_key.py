"""Keys on a device of the user: only it signs, and only after the user has done something for that."""

from collections.abc import Callable

import paramiko
from paramiko.pkey import PublicBlob

from notebooks_over_ssh.ssh.prompting import CredentialPrompter


class NotSignedError(paramiko.SSHException):
    """The device did not sign; the message is the reason."""


class HardwareKey(paramiko.PKey):
    """A public key, and the function that has its device sign."""

    def __init__(
        self,
        blob: bytes,
        sign: Callable[[bytes, str, str], bytes],
        *,
        failure: str,
        requires_touch: bool = False,
        pin_owner: str = "",
    ) -> None:
        """`blob` is the public key, or a certificate that an agent has.

        `sign` takes the data, the signature algorithm and the PIN, "" without one. `failure` is what the user can be
        told if it fails.
        """
        self.public_blob: PublicBlob | None = None
        self.requires_touch = requires_touch
        """Whether the user must touch the device for each signature."""
        self.pin_owner = pin_owner
        """What needs a PIN to sign, in words; "" if nothing does."""
        self._pin = ""
        self._blob = blob
        self._sign = sign
        self._failure = failure

    def asbytes(self) -> bytes:
        return self._blob

    def get_name(self) -> str:
        return paramiko.Message(self._blob).get_text()

    def get_bits(self) -> int:
        """The size of an RSA key, which RequiredRSASize limits; 0 for any other."""
        return paramiko.RSAKey(data=self._blob).get_bits() if self.get_name() == "ssh-rsa" else 0

    def prepare(self, credentials: CredentialPrompter, account: str, name: str) -> None:
        """Ask the user for what the device needs to log in to the account. Raises NotSignedError."""
        if self.pin_owner:
            pin = credentials.pin(self.pin_owner)
            if pin is None:
                raise NotSignedError("there is no terminal to ask for its PIN")
            self._pin = pin
        if self.requires_touch:
            credentials.ask_for_touch(account, name)

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> bytes:  # type: ignore[override] # a Message
        """The signature, once the user has done their part. Raises NotSignedError."""
        try:
            return self._sign(data, algorithm or self.get_name(), self._pin)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise NotSignedError(self._failure) from error

    def load_certificate(self, value: str) -> None:  # type: ignore[override] # no Message
        """Use the certificate in the file. Raises ValueError if it is for another key, OSError."""
        certificate = PublicBlob.from_file(value)
        message = paramiko.Message(certificate.key_blob)
        message.get_text()
        message.get_binary()  # the nonce; the fields of the public key follow (PROTOCOL.certkeys)
        public = paramiko.Message(self._blob)
        public.get_text()
        if not message.get_remainder().startswith(public.get_remainder()):
            raise ValueError(f"{value} is for another key")
        self.public_blob = certificate
