"""The options that several `edged fleet` commands have, and what they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edged.errors import BoardError, OperatorError

if TYPE_CHECKING:
    from edged.config.schema import Broker
    from edged.publisher.repository import Repository

PASSPHRASE = "EDGED_FLEET_PASSPHRASE"

dir_argument = click.argument("folder", metavar="DIR")
keys_option = click.option("--keys", metavar="FOLDER", multiple=True, help="Also look here for private keys; may be given again.")
_BROKER_OPTIONS = (
    click.option("--broker", "url", metavar="URL", required=True, help="mqtt://, mqtts://, ws:// or wss:// host:port."),
    click.option("--username", metavar="USER", default="", help="User name at the broker."),
    click.option("--password-file", metavar="FILE", default="", help="File whose first line is the password."),
    click.option("--ca-file", metavar="FILE", default="", help="Certificates to trust. Default: the system's."),
    click.option("--cert-file", metavar="FILE", default="", help="A client certificate."),
    click.option("--key-file", metavar="FILE", default="", help="The key of the client certificate."),
)


def broker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add where the broker is, and how it is entered; `broker_of` takes them."""
    for option in reversed(_BROKER_OPTIONS):
        command = option(command)
    return command


def broker_of(url: str, username: str, password_file: str, ca_file: str, cert_file: str, key_file: str) -> tuple[Broker, str]:
    """Give the broker and the password. Raises OperatorError(`bad-url`, `no-username`), BoardError(`password-file`)."""
    from edged.config.addresses import BadAddress, parse_broker_url
    from edged.config.schema import Broker

    try:
        parse_broker_url(url)
    except BadAddress as error:
        text, hint = error.args  # the address is not repeated: a password may stand in it
        raise OperatorError(
            "bad-url", f"the URL of --broker {text}", hint.replace("the keys `username` and `password_file`", "--username")
        ) from None
    if password_file and not username:
        raise OperatorError("no-username", "--password-file stands without --username", "add --username USER")
    broker = Broker(url=url, username=username, password_file=password_file, ca_file=ca_file, cert_file=cert_file, key_file=key_file)
    return broker, _password(password_file)


def _password(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError("password-file", f"cannot read {file}: {error}", "check the file's owner and mode") from None


def open_repository(folder: str, keys: Sequence[str] = ()) -> Repository:
    """Open a fleet's repository; its passphrase comes from the environment or from a person."""
    require_signing()
    from edged.clock import SystemClock
    from edged.publisher.repository import Repository

    for each in keys:
        if not Path(each).is_dir():
            raise OperatorError("no-such-folder", f"there is no folder {each}", "--keys names the folder that has the .pem files")
    return Repository(Path(folder), SystemClock(), [Path(each) for each in keys], ask_passphrase)


def require_signing() -> None:
    """Raise OperatorError(`fleet-extra-missing`) where what signs is not installed."""
    try:
        import cryptography  # noqa: F401
        import tuf  # noqa: F401
    except ImportError as error:
        hint = "install it: pip install 'edged[fleet]'"
        raise OperatorError("fleet-extra-missing", f"signing needs the Python package {error.name}", hint) from None


def ask_passphrase(path: Path) -> str:
    """Give the passphrase of a key file: of the environment, else a person's."""
    from edged.publisher.keys import no_passphrase

    if given := os.environ.get(PASSPHRASE, ""):
        return given
    if not sys.stdin.isatty():
        return no_passphrase(path)
    answer: str = click.prompt(f"passphrase of {path.name}", hide_input=True, err=True)
    return answer


def new_passphrase(asked: bool) -> str:
    """Give the passphrase for new keys: of the environment, else a person's where it is `asked` for; may be empty."""
    if given := os.environ.get(PASSPHRASE, ""):
        return given
    if not asked:
        return ""
    if not sys.stdin.isatty():
        raise OperatorError("passphrase-missing", "there is no terminal to ask for a passphrase", f"set {PASSPHRASE}")
    answer: str = click.prompt("passphrase for the keys of root and targets", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def echo_json(value: Any) -> None:
    """Print a value for programs, on one line."""
    import msgspec

    click.echo(msgspec.json.encode(value))
