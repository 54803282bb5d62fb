"""What the libraries below raise, told apart (does trying again help?) and put into one line for a person."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import aiohttp
from botocore import exceptions as boto  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from s3fs.utils import FileExpired

from pipeline.errors import MissingError, ReelmendError, ScratchFullError, StorageError

LIBRARY_ERRORS = (OSError, boto.BotoCoreError, boto.ClientError, aiohttp.ClientError, ResponseParserError)
"""Whatever fsspec, s3fs and the system raise when storage says no. All else is a fault of our own and passes."""

_TRANSIENT_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",  # another conditional write is under way; S3 asks for the same request again
        "IncompleteBody",
        "InternalError",
        "NoSuchUpload",  # the parts of an upload were swept away under it; the whole file is sent again
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_ERRNO = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_TRANSIENT_KINDS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    ResponseParserError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    ConnectionError,
    TimeoutError,
)
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
)
_SET_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL where the server is not Amazon's) "
    "in the environment of the driver and of every worker"
)
_REFUSED = {
    "InvalidAccessKeyId": ("the storage does not know this access key", _SET_CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", _SET_CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "Get new ones and run again: what is done is kept"),
    "InvalidToken": ("the session token is not valid", _SET_CREDENTIALS),
    "RequestTimeTooSkewed": ("this machine's clock differs too much from the storage's", "Set the clock (NTP)"),
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed a little later: connections, time-outs, overload, a server's faults."""
    if isinstance(error, StorageError):
        return error.transient
    if isinstance(error, ReelmendError | FileExpired):
        return False
    code, status = _answer(error)
    if code is not None:
        return code in _TRANSIENT_CODES or status in _TRANSIENT_STATUS
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    if isinstance(error, _TRANSIENT_KINDS):
        return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO


def is_there_already(error: BaseException) -> bool:
    """Whether a put-if-absent failed because something stands under the name.

    ``FileExistsError``, or what a real S3 server gives: ``OSError(22, "At least one of the pre-conditions…")``.
    """
    for e in _chain(error):
        if isinstance(e, FileExistsError) or _answer(e)[0] == "PreconditionFailed":
            return True
        if isinstance(e, OSError) and e.errno == errno.EINVAL and "pre-condition" in str(e).lower():
            return True
    return False


def code_of(error: BaseException) -> str | None:
    """The storage's own code for an error (``NoSuchKey``, ``InvalidRange``…), or None where no server answered."""
    return _answer(error)[0]


def explain(error: BaseException, uri: str, doing: str) -> StorageError:
    """The error as one clear line: what, where, and what to do. ``doing`` reads like ``read it`` or ``write it``."""
    if isinstance(error, StorageError):
        return error
    code, _ = _answer(error)
    if is_transient(error):
        return StorageError(
            f"could not {doing}, and trying again did not help: {_words(error)}",
            where=uri,
            todo="Check that the storage is up and that this machine reaches it, then run again: what is done is kept",
            transient=True,
        )
    if isinstance(error, _NO_CREDENTIALS):
        return StorageError(f"no usable credentials for the storage: {_words(error)}", where=uri, todo=_SET_CREDENTIALS)
    if code in _REFUSED:
        what, todo = _REFUSED[code]
        return StorageError(f"could not {doing}: {what} ({code})", where=uri, todo=todo)
    if code == "NoSuchBucket":
        return StorageError(
            f"could not {doing}: there is no such bucket", where=uri, todo="Create it, or correct the URI"
        )
    if isinstance(error, FileExpired):
        return StorageError(
            "it was changed while it was being read", where=uri, todo="Run again when nothing writes to it any more"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingError("there is no such file", where=uri, todo="Check the name")
    if isinstance(error, OSError) and error.errno in _FULL:
        return ScratchFullError(
            f"could not {doing}: no room left on the disk", where=uri, todo="Free some, or name another disk"
        )
    if isinstance(error, PermissionError):
        what = f"the credentials in use do not allow it ({code})" if code else _words(error)
        todo = "Ask for the right, or use other credentials" if code else "Check the rights of the file and its folder"
        return StorageError(f"could not {doing}: {what}", where=uri, todo=todo)
    if isinstance(error, boto.ParamValidationError):
        return StorageError(f"could not {doing}: S3 allows no such bucket or key", where=uri, todo="Correct the URI")
    return StorageError(f"could not {doing}: {_words(error)}", where=uri)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was made from, and what it was raised in the course of handling."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        e = todo.pop(0)
        if e is not None and id(e) not in seen:
            seen.add(id(e))
            yield e
            todo += [e.__cause__, e.__context__]


def _answer(error: BaseException) -> tuple[str | None, int | None]:
    """Code and HTTP status of a server's answer: of this error, or of the one that it is a translation of."""
    e: BaseException | None = error
    for _ in range(5):
        if isinstance(e, aiohttp.ClientResponseError):  # a web server: it has no codes but the status
            return str(e.status), e.status
        if isinstance(e, boto.ClientError):
            code = str(e.response.get("Error", {}).get("Code", ""))
            status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return code, status if isinstance(status, int) else None
        e = e.__cause__ if e is not None else None
    return None, None


def _words(error: BaseException) -> str:
    """The library's own words, cut to a length that a line can take."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join((text or type(error).__name__).split())
    return text if len(text) <= 300 else text[:299] + "…"
