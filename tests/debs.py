"""Debian packages for tests, made on the spot."""

import gzip
import io
import lzma
import tarfile


def ar(*members):
    """An ar archive of (name, content)."""
    data = b"!<arch>\n"
    for name, content in members:
        data += f"{name + '/':<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(content):<10}".encode()
        data += b"`\n" + content + b"\n" * (len(content) % 2)
    return data


def tar(files, mode=0o644):
    """A tar archive: path -> content, or the target of a symbolic link as a string."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), mode
                archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def package(folder, name, files=None, depends="", architecture="arm64", *, mode=0o644):
    """Write the package ``name``: its path."""
    fields = f"Package: {name}\nVersion: 1\nArchitecture: {architecture}\nDepends: {depends}\n"
    whole = ar(
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", gzip.compress(tar({"control": fields.encode()}))),
        ("data.tar.xz", lzma.compress(tar(files or {}, mode))),
    )
    path = folder / f"{name}_1_{architecture}.deb"
    path.write_bytes(whole)
    return path
