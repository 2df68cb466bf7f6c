"""Run the official runner's main.py with one port handed to it; `submission.official` starts it.

    python handover.py RUNNER_DIR PORT VID PID [arguments of main.py]

It runs in the official runner's environment and needs nothing of this project. The runner sees
only ports with a USB vendor id: the list of ports is replaced by the one port, under the ids of
a device of its YAML, and the list of other USB devices by an empty one.
"""

import importlib.util
import runpy
import sys
import types
from pathlib import Path

# Modules of main.py, and the packages that bring them. pyusb is not among them: what is asked of
# it is replaced anyway.
NEEDED = {
    "serial": "pyserial",
    "yaml": "pyyaml",
    "numpy": "numpy",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
}
NOT_INSTALLED = 3  # exit status


def _hand(port: str, vid: int, pid: int) -> None:
    import serial.tools.list_ports
    from serial.tools.list_ports_common import ListPortInfo

    info = ListPortInfo(port)
    info.vid, info.pid, info.description = vid, pid, "handed over"
    serial.tools.list_ports.comports = lambda *_, **__: [info]
    if importlib.util.find_spec("usb"):
        import usb.core
    else:
        usb = types.ModuleType("usb")
        usb.core = types.ModuleType("usb.core")
        sys.modules |= {"usb": usb, "usb.core": usb.core}
    usb.core.find = lambda *_, **__: []


def main() -> None:
    """See the module."""
    runner, port, vid, pid, *arguments = sys.argv[1:]
    missing = [
        package for module, package in NEEDED.items() if not importlib.util.find_spec(module)
    ]
    if missing:
        print(f"not installed: {' '.join(missing)}", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    _hand(port, int(vid), int(pid))
    sys.path[0] = runner
    sys.argv = ["main.py", *arguments]
    runpy.run_path(str(Path(runner) / "main.py"), run_name="__main__")


if __name__ == "__main__":
    main()
