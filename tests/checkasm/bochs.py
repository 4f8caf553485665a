#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run a static x86-64 Linux program on a processor this machine lacks, for example one with AVX-512.

The program is put into an initial RAM disk, which a Debian kernel starts inside the Bochs emulator. What it
prints appears here while it runs, and its exit status becomes this command's. A boot takes about 20 seconds
of processor time; after it the program runs some hundred times slower than on the machine itself.

needs (on Debian):
  apt-get install bochs bochs-term bochsbios vgabios xorriso cpio
and, fetched with apt-get download into the cache, not installed:
  busybox-static isolinux syslinux-common and the kernel that linux-image-cloud-amd64 stands for
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOLS = {"bochs": "bochs", "xorriso": "xorriso", "cpio": "cpio", "apt-get": "apt", "dpkg": "dpkg"}
FILES = {
    "/usr/share/bochs/BIOS-bochs-latest": "bochsbios",
    "/usr/share/bochs/VGABIOS-lgpl-latest": "bochs",
    "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so.0.0.0": "bochs-term",
}
KERNEL = "linux-image-cloud-amd64"
FETCHED = ("busybox-static", "isolinux", "syslinux-common")

# Bochs 2.7 describes the saved state of PKU and of compacted XSAVE wrongly, and has no switch for fast
# strings, without which this kernel's memmove must not believe FSRM.
CMDLINE = (
    "initrd=initrd console=ttyS0,115200 quiet panic=-1 nokaslr nosmp mitigations=off tsc=reliable "
    "lsm=capability cryptomgr.notests nopku clearcpuid=pku,ospke,xsavec,xsaves,fsrm"
)

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox stty -F /dev/ttyS1 115200 raw
{command} </dev/null >/dev/ttyS1 2>&1
echo "{end}$?" >/dev/ttyS1
/bin/busybox sleep 60
"""

BOCHSRC = """config_interface: textconfig
display_library: term
cpu: model={cpu}, count=1, ips=100000000, reset_on_triple_fault=0
megs: {megabytes}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={image}, status=inserted
boot: cdrom
clock: sync=none
com1: enabled=1, mode=file, dev={folder}/console
com2: enabled=1, mode=file, dev={folder}/output
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
plugin_ctrl: speaker=0, gameport=0, parallel=0
log: {folder}/log
panic: action=fatal
"""

END = "=== exit status "


def check_tools():
    """Stop with the names of the packages that are missing."""
    missing = {package for tool, package in TOOLS.items() if not shutil.which(tool)}
    missing |= {package for file, package in FILES.items() if not Path(file).exists()}
    if missing:
        sys.exit(f"bochs.py: missing; try: apt-get install {' '.join(sorted(missing))}")


def fetch(cache):
    """Unpack the kernel, the boot loader and busybox into `cache`, unless they are there."""
    done = cache / "complete"
    if done.exists():
        return
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    try:
        depends = subprocess.check_output(["apt-cache", "depends", KERNEL], text=True)
        kernel = next(line.split()[1] for line in depends.splitlines() if "Depends: linux-image" in line)
        subprocess.run(["apt-get", "-qq", "download", kernel, *FETCHED], check=True, cwd=cache)
    except (subprocess.CalledProcessError, StopIteration):
        sys.exit(f"bochs.py: apt does not find {KERNEL}, {', '.join(FETCHED)}; try: apt-get update")
    for package in cache.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, cache], check=True)
        package.unlink()
    done.touch()


def make_image(cache, folder, program, arguments, root):
    """Write a bootable CD whose system does nothing but run the program."""
    disk, cd = folder / "initrd", folder / "cd"
    if root:
        shutil.copytree(root, disk, symlinks=True)
    for path in ("bin", "dev", "proc", "tmp"):
        (disk / path).mkdir(parents=True, exist_ok=True)
    cd.mkdir()
    shutil.copy(cache / "bin/busybox", disk / "bin/busybox")
    shutil.copy(program, disk / "program")
    (disk / "init").write_text(INIT.format(command=shlex.join(["/program", *arguments]), end=END))
    for path in ("init", "program"):
        (disk / path).chmod(0o755)
    names = "\n".join(str(path.relative_to(disk)) for path in disk.rglob("*"))
    archive = ["cpio", "--create", "--quiet", "--format=newc", f"--file={cd / 'initrd'}"]
    subprocess.run(archive, input=names.encode(), cwd=disk, check=True)
    shutil.copy(next(cache.glob("boot/vmlinuz-*")), cd / "vmlinuz")
    shutil.copy(cache / "usr/lib/ISOLINUX/isolinux.bin", cd)
    shutil.copy(cache / "usr/lib/syslinux/modules/bios/ldlinux.c32", cd)
    (cd / "isolinux.cfg").write_text(f"default linux\nlabel linux\nkernel vmlinuz\nappend {CMDLINE}\n")
    image = folder / "cd.iso"
    boot = "-b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table".split()
    subprocess.check_output(["xorriso", "-as", "mkisofs", *boot, "-o", image, cd], stderr=subprocess.STDOUT)
    return image


def follow(emulator, output, seconds):
    """Print what the program prints, until it has ended; its exit status, or None."""
    deadline = time.monotonic() + seconds
    seen = b""
    while time.monotonic() < deadline:
        running = emulator.poll() is None
        data = output.read_bytes() if output.exists() else b""
        *lines, rest = data[len(seen) :].split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            if text.startswith(END):
                return int(text.removeprefix(END))
            print(text, flush=True)
        seen = data[: len(data) - len(rest)]
        if not running:
            break
        time.sleep(0.2)
    return None


def main():
    keep_lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=keep_lines)
    parser.add_argument("--cpu", default="corei7_icelake_u", help="see `bochs --help cpu` (%(default)s)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds (%(default)s)")
    parser.add_argument("--memory", type=int, default=512, help="megabytes (%(default)s)")
    cache = Path(__file__).parent / "build/bochs"
    parser.add_argument("--cache", type=Path, default=cache, help="where packages go (%(default)s)")
    parser.add_argument("--root", type=Path, help="folder whose contents are the root of the system")
    parser.add_argument("program", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    check_tools()
    fetch(options.cache)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = make_image(options.cache, folder, options.program, options.arguments, options.root)
        setup = BOCHSRC.format(cpu=options.cpu, megabytes=options.memory, image=image, folder=folder)
        (folder / "bochsrc").write_text(setup)
        (folder / "go").write_text("c\n")  # Debian's Bochs starts in its debugger: continue
        with open(folder / "screen", "wb") as screen:
            emulator = subprocess.Popen(
                ["bochs", "-q", "-f", folder / "bochsrc", "-rc", folder / "go"],
                stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, env={**os.environ, "TERM": "vt100"},
            )  # fmt: skip
        try:
            status = follow(emulator, folder / "output", options.timeout)
        finally:
            emulator.kill()  # it takes no notice of milder signals
            emulator.wait()
        if status is None:
            for log in ("screen", "console"):
                if (folder / log).exists():
                    sys.stderr.write((folder / log).read_text(errors="replace")[-3000:])
            sys.exit("bochs.py: the program did not end; above: the emulator's and the kernel's last words")
    sys.exit(status)


if __name__ == "__main__":
    main()
