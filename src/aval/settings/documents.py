"""Where the files of identity documents lie."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from aval.settings import kinds
from aval.settings.kinds import Known


def _directory(known: Known) -> str:
    return Path(known["AVAL_DATA_DIR"], "documents").absolute().as_uri()


@dataclass(frozen=True, slots=True)
class DocumentSettings:
    """Identity documents"""

    url: str = kinds.url(
        "AVAL_DOCUMENTS_URL",
        "file s3",
        "Store of the encrypted files: file:///directory, or s3://bucket/prefix for any store that speaks S3. API and "
        "worker need the same.",
        default=_directory,
        shown="`documents` in AVAL_DATA_DIR",
    )
    endpoint: str = kinds.url(
        "AVAL_DOCUMENTS_ENDPOINT", "https http", "Address of an S3 store other than that of Amazon."
    )
    region: str = kinds.text("AVAL_DOCUMENTS_REGION", "us-east-1", "Region of the bucket.")
    key_id: str = kinds.text("AVAL_DOCUMENTS_KEY_ID", "", "Access key of the bucket.")
    secret: str = kinds.text("AVAL_DOCUMENTS_SECRET", "", "Secret of that access key.", secret=True)
    uploads_dir: Path = kinds.path(
        "AVAL_UPLOADS_DIR",
        lambda _known: Path(tempfile.gettempdir()),
        "directory",
        "Where uploads lie, without a name, while they are checked; a disk, rather than memory.",
        shown="the system's directory for temporary files",
    )
