"""Writes real requests with their answers as numbered JSON files."""

import json
import urllib.error
import urllib.request

SEEN_HEADERS = ("content-type", "date", "retry-after", "vendure-auth-token", "www-authenticate")


class Recorder:
    """Sends requests and writes each with its answer; placeholders stand for session tokens."""

    def __init__(self, folder, base):
        self._folder, self._base, self._count = folder, base, 0
        self._secrets = {}
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, name, path, body, headers=None, secrets=None):
        """POSTs `body` as JSON; answers the decoded body and the headers.

        `secrets(answer, headers)` names what must not be written: secret -> placeholder.
        """
        sent = {"content-type": "application/json", **(headers or {})}
        data = (
            body.encode()
            if isinstance(body, str)
            else json.dumps(body, ensure_ascii=False).encode()
        )
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._base + path, data, sent), timeout=60
            ) as response:
                status, text, got = response.status, response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            status, text, got = error.code, error.read().decode(), error.headers
        received = {key: got[key] for key in SEEN_HEADERS if got.get(key)}
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text
        self._secrets.update(secrets(answer, got) if secrets else {})
        self._count += 1
        self._write(
            f"{self._count:02d}_{name}",
            {
                "request": {"method": "POST", "path": path, "headers": sent, "body": body},
                "response": {"status": status, "headers": received, "body": answer},
            },
        )
        return answer, got

    def _write(self, name, pair):
        text = json.dumps(pair, ensure_ascii=False, indent=1)
        for secret, placeholder in self._secrets.items():
            text = text.replace(secret, placeholder)
        (self._folder / f"{name}.json").write_text(text + "\n")
