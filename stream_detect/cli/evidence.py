"""`stream-detect evidence verify|export|list|keygen`: whether evidence is as it was sealed, and how it is handed on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detect.cli.alerts import written
from stream_detect.errors import OutputError, UsageError

if TYPE_CHECKING:
    from stream_detect.evidence.ledger import Entry
    from stream_detect.evidence.signing import PublicKey
    from stream_detect.evidence.verify import Report

TAMPERED = 5  # the exit code for evidence that is not as it was sealed
SHOWN = 50  # problems, the rest is counted
CODES = "Exit codes: 0 as it was sealed, 5 tampered with, 2 wrong use."
app = typer.Typer(
    help="Verify, export and list evidence (watch --evidence), and make keys to sign it with.",
    epilog=f"Example: stream-detect evidence verify evidence/   {CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
VERIFY_EXAMPLE = (
    f"Examples: stream-detect evidence verify evidence/\n\n"
    f"stream-detect evidence verify case.zip --key signer.pub --head 3f9ac27e11d0   {CODES}"
)
EXPORT_EXAMPLE = "Example: stream-detect evidence export evidence/ --alert 3f9ac27e11d0 --out case.zip"
LIST_EXAMPLE = "Example: stream-detect evidence list evidence/"
KEYGEN_EXAMPLE = (
    "Example: stream-detect evidence keygen signer.pem   makes signer.pem (keep it secret) and signer.pem.pub.\n\n"
    "With STREAM_DETECT_KEY_PASSWORD in the environment the key is locked with it."
)

EvidenceArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of evidence.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="PATH|URL", envvar="STREAM_DETECT_STORE", help="Its ledger. Default: DIR/store.sqlite."
    ),
]


@app.command("verify", epilog=VERIFY_EXAMPLE)
def verify(
    place: Annotated[Path, typer.Argument(metavar="DIR|ZIP", help="A folder of evidence, or an export of one.")],
    store: StoreOption = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="A public key that it has to be signed with; may be repeated."),
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SHA256", help="A head that you noted: it must be in the chain.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object instead of text.")] = False,
) -> None:
    """Say whether evidence is as it was sealed: tampered, consistent, or authentic (signed with a key you give)."""
    from stream_detect.evidence.signing import read_public_key

    check_head(head)
    report = looked_at(place, store, [read_public_key(path) for path in keys or ()], head)
    with written("-"):
        if as_json:
            print(json.dumps({"verdict": report.word, **asdict(report)}, indent=2))
        else:
            show(report)
    raise typer.Exit(TAMPERED if report.problems else 0)


@app.command("export", epilog=EXPORT_EXAMPLE)
def export(
    place: EvidenceArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.zip", help="A new file. Default: DIR.zip in this folder.")
    ] = None,
    alerts: Annotated[
        list[str] | None,
        typer.Option("--alert", metavar="ID", help="Of this alert alone; its beginning is enough; may be repeated."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write evidence into one zip with its manifests, its ledger and words on how to check it."""
    from stream_detect.evidence import export as exports

    entries = ledger_of(place, store)()
    if entries is None:
        raise UsageError(f"{place}: there is no ledger in it; give --store, as to watch")
    target = out or Path(f"{place.resolve().name}.zip")
    exported = exports.export(place, entries, target, alerts)
    report = exports.verify_export(target)
    with written("-"):
        say(f"{target}: {count(len(exported), 'folder')}, {megabytes(target.stat().st_size)}")
        show(report)
    raise typer.Exit(TAMPERED if report.problems else 0)


@app.command("list", epilog=LIST_EXAMPLE)
def list_evidence(
    place: EvidenceArgument,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array instead of lines.")] = False,
) -> None:
    """List what is in the chain, the oldest first, without looking into it."""
    entries = ledger_of(place, store)()
    if entries is None:
        raise UsageError(f"{place}: there is no ledger in it; give --store, as to watch")
    with written("-"):
        if as_json:
            print(json.dumps([asdict(entry) for entry in entries], indent=2))
        else:
            for entry in entries:
                say(words_of(entry))


@app.command("keygen", epilog=KEYGEN_EXAMPLE)
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; FILE.pub is the other.")],
) -> None:
    """Make an Ed25519 key that evidence is signed with ([evidence] sign_with)."""
    import os

    from stream_detect.evidence.signing import PASSWORD, make_key, public_path

    public = make_key(file, os.environ.get(PASSWORD) or None)
    print(f"{file}: the private key; keep it secret, and a copy of it in a safe place")
    print(f"{public_path(file)}: the public key {public.hex}; give it to whoever is to verify")


def check_head(head: str | None) -> None:
    """Raises UsageError unless a head is one, or at least its first 12 digits."""
    if head is not None and not (12 <= len(head) <= 64 and set(head.lower()) <= set("0123456789abcdef")):
        raise UsageError(f"--head {head}: expected at least the first 12 of 64 hexadecimal digits")


def looked_at(place: Path, store: str | None, keys: "Sequence[PublicKey]", head: str | None) -> "Report":
    """What a look finds; a recorder may be at work: if the chain moved on meanwhile, look again."""
    from stream_detect.evidence import export as exports

    if place.is_file() or (store is None and exports.is_export(place)):
        return exports.verify_export(place, keys, head)
    ledger = ledger_of(place, store)
    for _ in range(3):
        entries = ledger()
        report = look(place, store, entries, keys, head)
        if not report.problems or ledger() == entries:
            break
    return report


def look(
    place: Path, store: str | None, entries: "list[Entry] | None", keys: "Sequence[PublicKey]", head: str | None
) -> "Report":
    from stream_detect.evidence.verify import STORE_FILES, verify

    return verify(place, entries, keys, head=head, known=STORE_FILES | files_of(place, store))


def files_of(place: Path, store: str | None) -> frozenset[str]:
    """What a store's file may be called, with what lies beside it, if it is in the folder of evidence."""
    from stream_detect.evidence.verify import files_of_store

    if store is None or "://" in store or Path(store).resolve().parent != place.resolve():
        return frozenset()
    return files_of_store(Path(store).name)


def ledger_of(place: Path, store: str | None) -> "Callable[[], list[Entry] | None]":
    """How the entries of the ledger are had; they are None if the folder has no store and none was named.

    Raises:
        OutputError: if there is no such folder.
    """
    from stream_detect.evidence.verify import STORE

    if not place.is_dir():
        raise OutputError(f"{place}: there is no such folder of evidence")
    if store is None and not (place / STORE).exists():
        return lambda: None
    return lambda: entries_in(store or place / STORE)


def entries_in(store: str | Path) -> "list[Entry]":
    from stream_detect.secrets import hide_arguments
    from stream_detect.store import open_store

    hide_arguments()
    with open_store(store, create=False) as opened:
        return opened.ledger.entries()


def show(report: "Report") -> None:
    say(f"{report.word}: {report.place}")
    for line in [*words_about(report), *problems_in(report)]:
        say(f"  {line}")


def say(text: str) -> None:
    """One line on stdout; names that are no text of this terminal are written so that they can be."""
    import sys

    from stream_detect.logs import one_line

    coding = sys.stdout.encoding or "utf-8"
    print(one_line(text).encode(coding, "backslashreplace").decode(coding))


def words_about(report: "Report") -> list[str]:
    gone = f", {report.removed} of them removed by retention" if report.removed else ""
    absent = f", {report.absent} of them not in this export" if report.absent else ""
    lines = [
        f"{count(report.entries, 'entry', 'entries')} in the chain{gone}{absent}",
        f"{count(report.files, 'file')} read, {megabytes(report.bytes)}; {count(report.signed, 'folder')} signed",
    ]
    if report.head:
        lines.append(f"head {report.head}: note it elsewhere, so that nobody can remove the newest unseen (--head)")
    lines += [f"not sealed: {folder} (being recorded)" for folder in report.unsealed]
    return [*lines, *(f"note: {note}" for note in report.notes)]


def problems_in(report: "Report") -> list[str]:
    lines = [problem_words(one.entry, one.path, one.what) for one in report.problems[:SHOWN]]
    if len(report.problems) > SHOWN:
        lines.append(f"and {len(report.problems) - SHOWN} more")
    return lines


def problem_words(entry: int | None, path: str, what: str) -> str:
    where = "" if entry is None else f"entry {entry}: "
    return f"{where}{path}: {what}" if path else f"{where}{what}"


def words_of(entry: "Entry") -> str:
    gone = f"  removed {entry.removed_at} ({entry.removed_why})" if entry.removed_at else ""
    return f"{entry.position:6}  {entry.sealed_at}  {entry.folder}{gone}"


def count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
