"""A mail server that keeps what it receives, for the tests.

It takes mail only after STARTTLS and a login, as a relay on the submission port does. Each message
becomes one line of JSON in the mailbox file: when it came, its envelope, how the connection was
secured, who logged in, and what Python's own mail parser makes of it. The port is chosen by the
system and printed. The server ends when its standard input is closed, or after its time limit.
"""

import argparse
import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult

LIMIT_SECS = 120


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certificate", required=True, help="PEM file")
    parser.add_argument("--key", required=True, help="PEM file")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", required=True)
    parser.add_argument("--mailbox", required=True, help="the file to append to")
    return parser.parse_args()


class Mailbox:
    """Appends each message that arrives to a file, in one write."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")

    async def handle_DATA(self, server, session, envelope):
        arrived = time.time()
        tls = server.transport.get_extra_info("ssl_object")
        record = {
            "arrived": arrived,
            "hello": session.host_name,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": tls and tls.version(),
            "login": session.authenticated and session.auth_data.login.decode(),
            "mechanism": getattr(session, "mechanism", None),
            "raw": envelope.original_content.decode("utf-8", "backslashreplace"),
            **parsed(envelope.original_content),
        }
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        return "250 2.0.0 kept"


def text_of(part):
    """Of a picture, how long it is."""
    content = part.get_content()
    return content if isinstance(content, str) else f"{len(content)} bytes"


def parsed(content):
    """The message as a mail reader sees it, and whatever the parser found wrong with it."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    defects = [d for part in message.walk() for d in part.defects]
    defects += [d for value in message.values() for d in getattr(value, "defects", [])]
    return {
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "type": message.get_content_type(),
        "parts": [{"type": p.get_content_type(), "text": text_of(p)} for p in leaves],
        "defects": [repr(defect) for defect in defects],
    }


def authenticator(user, password):
    def check(server, session, envelope, mechanism, login):
        is_right = (login.login, login.password) == (user, password)
        session.mechanism = mechanism
        return AuthResult(success=is_right, handled=False, auth_data=login)

    return check


async def main():
    args = arguments()
    # It warns of an attribute that it sets itself.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.certificate, args.key)
    with open(args.password_file, "rb") as file:
        password = file.read().rstrip(b"\r\n")
    mailbox = Mailbox(args.mailbox)

    def protocol():
        return SMTP(
            mailbox,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            auth_require_tls=True,
            authenticator=authenticator(args.user.encode(), password),
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    ended = asyncio.Event()
    # Nothing is ever written to it, so what can be read is its end.
    loop.add_reader(sys.stdin.fileno(), ended.set)
    loop.call_later(LIMIT_SECS, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


asyncio.run(main())
