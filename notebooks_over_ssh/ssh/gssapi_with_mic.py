"""The client's messages of the authentication method gssapi-with-mic (RFC 4462, section 3); no input or output."""

import paramiko

from notebooks_over_ssh.ssh.gssapi_context import KERBEROS_OID_DER, METHOD, SecurityContext

MSG_RESPONSE = 60
MSG_TOKEN = 61
MSG_ERROR = 64
MSG_ERRTOK = 65
MSG_MIC = 66
MSG_USERAUTH_REQUEST = 50
SERVICE = "ssh-connection"
# Kerberos needs one token of the server.
MAX_TOKENS = 8
MAX_TOKEN_BYTES = 64 * 1024


class GSSAPIExchange:
    """One attempt to log in."""

    def __init__(self, user: str, session_id: bytes, context: SecurityContext) -> None:
        """`session_id` is that of the transport, to which the login is bound."""
        self._user = user
        self._session_id = session_id
        self._context = context
        self._is_started = False
        self._tokens_left = MAX_TOKENS

    @staticmethod
    def add_mechanisms(request: paramiko.Message) -> None:
        """Complete the SSH_MSG_USERAUTH_REQUEST: Kerberos is the only mechanism."""
        request.add_int(1)
        request.add_string(KERBEROS_OID_DER)

    def reply(self, message_type: int, message: paramiko.Message) -> list[paramiko.Message]:
        """The replies to a message of the server. Raises GSSAPIError, or SSHException if it breaks the protocol."""
        content = message.get_binary()
        if message_type == MSG_RESPONSE and not self._is_started and content == KERBEROS_OID_DER:
            self._is_started = True
            return self._step(None)
        if (
            message_type == MSG_TOKEN
            and self._is_started
            and not self._context.is_complete
            and self._tokens_left
            and len(content) <= MAX_TOKEN_BYTES
        ):
            self._tokens_left -= 1
            return self._step(content)
        raise paramiko.SSHException(f"unexpected message {message_type} during {METHOD}")

    def _step(self, token: bytes | None) -> list[paramiko.Message]:
        replies = []
        next_token = self._context.step(token)
        if next_token:
            replies.append(_message(MSG_TOKEN, next_token))
        if self._context.is_complete:
            replies.append(_message(MSG_MIC, self._context.sign(self._signed_data())))
        return replies

    def _signed_data(self) -> bytes:
        """RFC 4462, section 3.5."""
        data = paramiko.Message()
        data.add_string(self._session_id)
        data.add_byte(bytes([MSG_USERAUTH_REQUEST]))
        for field in (self._user, SERVICE, METHOD):
            data.add_string(field)
        return data.asbytes()


def _message(message_type: int, content: bytes) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(bytes([message_type]))
    message.add_string(content)
    return message
