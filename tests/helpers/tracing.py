"""Run a program without a network and record whom it tries to reach and what files it writes.

The program runs in a network namespace of its own in which every address is the machine itself,
so look-ups and connections are attempted, recorded by strace, and refused.
"""

import ast
import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

_CONTACTS = ("connect", "sendto", "sendmsg", "sendmmsg")
_FORKS = ("clone", "clone3", "fork", "vfork")
_WRITES = ("openat", "open", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2")
_CALLS = ("execve", *_FORKS, *_CONTACTS, *_WRITES)
_NAMESPACE = """
ip link set lo up
ip route add local default dev lo
ip -6 route add local default dev lo 2>/dev/null
exec "$@"
"""
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SOCKET = re.compile(r"^\w+\(\d+<(socket:\[\d+\])>")
_ADDRESS = re.compile(r'htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
_RESULT = re.compile(r"\) += (-?\d+)(?:<(.*)>)?")
_DNS_PORT = 53


@dataclass
class Traced:
    """A program that runs under the trace.

    Attributes:
        log: What it printed.
        home: Its home folder, empty at the start, which is none of the folders it may write to.
    """

    log: Path
    home: Path
    _process: "subprocess.Popen[bytes]" = field(repr=False)
    _folder: Path = field(repr=False)

    def wait(self, seconds: float) -> list[str]:
        """Wait for the end of the program, which has to be 0, and return its `violations`."""
        code = self._process.wait(seconds)
        assert code == 0, f"exit code {code}:\n{self.log.read_text(errors='replace')}"
        return self.violations()

    def violations(self) -> list[str]:
        """Return a line per look-up, connection or written file that must not be, so far."""
        files = {int(path.suffix[1:]): path for path in self._folder.glob("trace.*")}
        lines = {pid: path.read_text(errors="replace").splitlines() for pid, path in files.items()}
        names = _name_processes(lines)
        return sorted(
            {
                f"{name}: {deed}"
                for pid, name in names.items()
                for deed in _deeds(lines[pid], self._folder)
            }
        )

    def stop(self) -> None:
        """Kill the program and everything it started."""
        if self._process.poll() is None:
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.kill()
            self._process.kill()
        self._process.wait()


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Traced:
    """Start a program under the trace.

    It may write below ``folder/work``, where it starts, and ``folder/tmp``, its temporary folder.
    The variables of this process do not reach it, apart from PATH: a switch that the tests or a
    developer have set would hide that the product's own is missing.

    Args:
        command: The program and its arguments.
        folder: A folder to make.
        environment: Variables of the program besides PATH, HOME and TMPDIR.
    """
    skip_where_nothing_can_be_traced()
    work, tmp, home = (folder / name for name in ("work", "tmp", "home"))
    for made in (work, tmp, home):
        made.mkdir(parents=True)
    log = folder / "log"
    trace = [
        *("strace", "-f", "-ff", "-y", "--seccomp-bpf", "--string-limit=1024"),
        *("-o", str(folder / "trace"), "-e", f"trace={','.join(_CALLS)}"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _NAMESPACE, "sh", *trace, *command],
            cwd=work,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(home),
                "TMPDIR": str(tmp),
                "PYTHONDONTWRITEBYTECODE": "1",  # the packages' own folders are not the product's
                "OMP_NUM_THREADS": "1",  # threads of several programs would fight for the cores
                **(environment or {}),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Traced(log, home, process, folder)


def skip_where_nothing_can_be_traced() -> None:
    """Skip a test without the tools or the rights; CI has both, and there it fails."""
    missing = [tool for tool in ("strace", "unshare", "ip") if shutil.which(tool) is None]
    reason = f"needs {', '.join(missing)}: apt-get install strace iproute2" if missing else ""
    if not reason and subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        reason = "needs root, to make a network namespace"
    if reason:
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


def _name_processes(lines: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Return the command line of each thread: its own, or that of the one that started it."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for pid, calls in lines.items():
        for line in calls:
            call, result = line.partition("(")[0], _RESULT.search(line)
            if not result or int(result[1]) < 0:
                continue
            if call in _FORKS:
                parents[int(result[1])] = pid
            elif call == "execve":
                arguments = line.partition("[")[2].partition("], ")[0]
                words = [_decode(word).decode(errors="replace") for word in _strings(arguments)]
                names[pid] = " ".join(words)[:200]
    for pid in lines:
        ancestor = pid
        while ancestor not in names and ancestor in parents:
            ancestor = parents[ancestor]
        names[pid] = names.get(ancestor, "an unknown process")
    return names


def _deeds(lines: Sequence[str], folder: Path) -> list[str]:
    allowed = (folder / "work", folder / "tmp", Path("/dev"), Path("/proc"))
    deeds: list[str] = []
    resolvers: set[str] = set()  # sockets that are connected to one
    for line in lines:
        call = line.partition("(")[0]
        if call in _CONTACTS:
            socket = _SOCKET.match(line)
            for port, address in _ADDRESS.findall(line):
                if int(port) == _DNS_PORT:
                    deeds.append(f"asked the resolver {address}")
                    if socket:
                        resolvers.add(socket[1])
                elif not _is_loopback(address):
                    deeds.append(f"reached for {address}, port {port}")
            if "/run/systemd/resolve/" in line:
                deeds.append("asked systemd's resolver")
            if socket and socket[1] in resolvers and call != "connect":
                deeds += [f"looked up {name}" for name in _queries(line)]
        elif call in _WRITES:
            path = _written(line, folder / "work")
            in_memory = str(path).startswith("/memfd:")  # which has no name anywhere
            if path and not in_memory and not any(path.is_relative_to(root) for root in allowed):
                deeds.append(f"wrote {path}")
    return deeds


def _written(line: str, start: Path) -> Path | None:
    """Return the absolute path that a call has written to, made or renamed to.

    Args:
        line: A call of `_WRITES`.
        start: Where the program started: the trace tells no working directory of all calls.
    """
    result = _RESULT.search(line)
    if not result or int(result[1]) < 0:
        return None
    if line.startswith("open"):
        if not re.search(r"O_WRONLY|O_RDWR|O_CREAT", line):
            return None
        target = result[2] or ""  # as the kernel names it, without links
        return Path(target) if target.startswith("/") else None
    name = _decode(_strings(line)[-1]).decode(errors="replace")
    folders = re.findall(r"(?:AT_FDCWD|\d+)<(/[^>]*)>", line)
    return Path(folders[-1] if folders else start, name)


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback or parsed.is_unspecified  # which the kernel takes for loopback


def _strings(text: str) -> list[str]:
    return _STRING.findall(text)


def _decode(string: str) -> bytes:
    decoded = ast.literal_eval(f'b"{string}"')  # strace writes them as C does, and so does Python
    assert isinstance(decoded, bytes)
    return decoded


def _queries(line: str) -> list[str]:
    return [name for name in map(query_name, map(_decode, _strings(line))) if name]


def query_name(packet: bytes) -> str:
    """Return the name in a DNS query (RFC 1035, section 4.1), or nothing if it is none."""
    labels: list[bytes] = []
    at = 12
    while at < len(packet) and packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]])
        at += 1 + packet[at]
    return b".".join(labels).decode(errors="replace")
