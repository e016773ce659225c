"""A prefix in a bucket of S3, or of whatever speaks its protocol. Imported only for `s3://…`; needs the extra `s3`.

Before: `places`. After: the `minio` client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kcp.storage.snapshot.places import S3, Entry, PlaceError, S3Options

_AWS = "https://s3.amazonaws.com"
_TIMEOUT_S = 20.0
_TRIES = 3


class Bucket:
    def __init__(self, where: str, options: S3Options) -> None:
        """Raises PlaceError."""
        self._bucket, _, prefix = where.removeprefix(S3).partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not self._bucket:
            raise PlaceError(f"{where}: it must be s3://BUCKET/PREFIX")
        self._client = _client(options)

    @property
    def where(self) -> str:
        return f"{S3}{self._bucket}/{self._prefix}".rstrip("/")

    def entries(self) -> Sequence[Entry]:
        with self._told():
            found = self._client.list_objects(self._bucket, prefix=self._prefix)
            return [
                Entry(held.object_name.removeprefix(self._prefix), int(held.size or 0))
                for held in found
                if held.object_name is not None and not held.is_dir
            ]

    def beginning(self, name: str, size: int) -> bytes:
        with self._told(name):
            answer = self._client.get_object(self._bucket, self._prefix + name, offset=0, length=size)
            try:
                return bytes(answer.read())
            finally:
                answer.close()
                answer.release_conn()

    def fetch(self, name: str, path: Path) -> None:
        with self._told(name):
            self._client.fget_object(self._bucket, self._prefix + name, str(path))

    def put(self, path: Path, name: str) -> None:
        """S3 shows an object only when all of it has come."""
        with self._told(name):
            self._client.fput_object(self._bucket, self._prefix + name, str(path))

    def delete(self, name: str) -> None:
        with self._told(name):
            self._client.remove_object(self._bucket, self._prefix + name)

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        where = f"{self.where}/{name}".rstrip("/")
        try:
            yield
        except MinioException as error:
            raise PlaceError(f"{where}: {getattr(error, 'message', None) or error}") from error
        except HTTPError as error:
            raise PlaceError(f"{self.where} cannot be reached: {error}") from error
        except ValueError as error:
            raise PlaceError(f"{where}: {error}") from error


def _client(options: S3Options) -> Any:
    try:
        import urllib3
        from minio import Minio
        from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider
    except ImportError as error:
        raise PlaceError("s3:// needs the extra s3: pip install 'kcp-tmc[s3]'") from error
    url = urlsplit(options.endpoint or _AWS)
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        raise PlaceError(f"--s3-endpoint={options.endpoint}: it must be a URL such as https://s3.example.com")
    retries = urllib3.Retry(total=_TRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=_TIMEOUT_S), retries=retries)
    credentials = ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()])
    return Minio(url.netloc, secure=url.scheme == "https", credentials=credentials, region=options.region or None, http_client=pool)
