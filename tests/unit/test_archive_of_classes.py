"""The list of classes that the serving image archives for Java's start."""

import importlib.util
import zipfile
from pathlib import Path

JAVA_PACKAGES = ("java/", "javax/", "jdk/", "sun/", "com/sun/", "org/xml/", "org/w3c/")
ROOT = Path(__file__).parents[2]


def classes(jar: Path) -> set[str]:
    with zipfile.ZipFile(jar) as file:
        return {name.removesuffix(".class") for name in file.namelist() if name.endswith(".class")}


def test_every_listed_class_is_in_java_or_in_one_of_the_jars() -> None:
    listed = (ROOT / "containers/serving/classes.list").read_text().splitlines()
    spec = importlib.util.find_spec("mms")
    assert spec and spec.origin
    ours = classes(ROOT / "src/dogbreeds/serving/endpoints.jar")
    theirs = classes(Path(spec.origin).parent / "frontend/model-server.jar")
    assert listed == sorted(listed)
    assert {"dogbreeds/Server", "dogbreeds/Gate"} <= set(listed)
    missing = {name for name in listed if not name.startswith(JAVA_PACKAGES)} - ours - theirs
    assert not missing, f"write the list again by containers/serving/list-classes: {missing}"
