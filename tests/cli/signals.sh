#!/bin/sh
# SPDX-License-Identifier: MIT
# SIGINT, SIGTERM and SIGHUP end a convert by that signal and leave nothing;
# SIGUSR1 asks how far it is.
. "${top_srcdir:-.}/tests/lib.sh"
command -v python3 >/dev/null || { echo "no python3"; exit 77; }

yes 'some content that compresses well' | head -c 4000000 >data.raw
cat >stop.py <<'END'
# stop.py SIGNAL COMMAND...: waits until the work moves (a progress line),
# signals, twice where it can, and prints how the command ended.
import os, signal, subprocess, sys
sig = getattr(signal, sys.argv[1])
signal.signal(sig, signal.SIG_DFL)  # whoever runs us may ignore it
r, w = os.pipe()
p = subprocess.Popen(sys.argv[2:] + ["--progress-fd=%d" % w], pass_fds=[w],
                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
os.close(w)
os.read(r, 10)
p.send_signal(sig)
p.send_signal(sig)
err = p.stderr.read().decode()
print(p.wait(), err, end="")
END

# a rate that would take minutes: the signal always comes in time
for s in SIGINT:-2 SIGTERM:-15 SIGHUP:-1; do
	for o in "" "-O qcow2" "-O qcow2 -c" "-m 1"; do
		checks=$((checks + 1))
		python3 stop.py "${s%:*}" "$byre" convert -r 64k $o \
			data.raw new >end 2>&1
		case $(cat end) in
		"${s#*:} byre: convert: "*) ;;
		*) fail "$s $o: $(cat end)" ;;
		esac
		[ "$(wc -l <end)" -le 1 ] || fail "$s: $(cat end)"
		only data.raw end stop.py
	done
done

# Bitmaps that record are stored with what was written.
"$byre" create -f qcow2 old 4M
"$byre" qemu-img bitmap --add old b
checks=$((checks + 1))
python3 stop.py SIGINT "$byre" convert -n -r 64k -O qcow2 data.raw old >end 2>&1
case $(cat end) in
"-2 "*) ;;
*) fail "convert -n: $(cat end)" ;;
esac
expect 0 "$byre" qemu-img bitmap --disable old b
rm old

# Room that is being made: what there was stays, and no more.
cat >room.py <<'END'
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
was = os.path.getsize("image")
p = subprocess.Popen(sys.argv[1:] + ["resize", "--preallocation=full", "-f",
                                     "qcow2", "image", "8G"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
while p.poll() is None and os.path.getsize("image") < was + (4 << 20):
    pass
p.send_signal(signal.SIGINT)
print(p.wait(), p.stderr.read().decode(), end="")
if os.path.getsize("image") > was + (1 << 20):
    print("the file stays long")
END
for front in "" qemu-img; do
	checks=$((checks + 1))
	"$byre" create -f qcow2 image 1M
	python3 room.py "$byre" $front >end 2>&1
	case $(cat end) in
	"-2 "*interrupted*) ;;
	*) fail "resize: $(cat end)" ;;
	esac
	[ "$(wc -l <end)" -eq 1 ] || fail "resize: $(cat end)"
	expect 0 "$byre" qemu-img check -q image
	rm image
done
# and of a new image the rest is not made
cat >room.py <<'END'
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL,
                     stderr=subprocess.PIPE)
while p.poll() is None and os.path.getsize("image") < 8 << 20:
    pass
p.send_signal(signal.SIGINT)
print(p.wait(), p.stderr.read().decode(), end="")
if os.stat("image").st_blocks * 512 > 900 << 20:
    print("all of it was made")
END
truncate -s 1G big.raw
for args in "convert -f raw -O raw -o preallocation=full big.raw image" \
	"convert -f raw -O qcow2 -o preallocation=full big.raw image" \
	"qemu-img create -f qcow2 -o preallocation=full image 1G"; do
	checks=$((checks + 1))
	: >image
	python3 room.py "$byre" $args >end 2>&1
	case $(cat end) in
	"-2 "*interrupted*) ;;
	*) fail "$args: $(cat end)" ;;
	esac
	[ "$(wc -l <end)" -eq 1 ] || fail "$args: $(cat end)"
	rm image
done
rm room.py big.raw

checks=$((checks + 1))
python3 - "$byre" <<'END' || fail "SIGUSR1"
import os, re, signal, subprocess, sys

def at_work(pid):
    """The signal is caught and a target beside data.raw is open."""
    proc = "/proc/%d/" % pid
    try:
        with open(proc + "status") as f:
            caught = int(re.search(r"SigCgt:\s*(\w+)", f.read())[1], 16)
        names = [os.readlink(proc + "fd/" + n)
                 for n in os.listdir(proc + "fd")]
    except OSError:  # a descriptor was closed meanwhile
        return False
    return caught >> (signal.SIGUSR1 - 1) & 1 and any(
        n.startswith(os.getcwd()) and not n.endswith("data.raw")
        for n in names)

for front in ([], ["qemu-img"]):
    p = subprocess.Popen([sys.argv[1], *front, "convert", "-r", "256k",
                          "data.raw", "new"], stderr=subprocess.PIPE)
    while not at_work(p.pid):
        pass
    p.send_signal(signal.SIGUSR1)
    line = p.stderr.readline().decode()
    p.send_signal(signal.SIGTERM)
    p.wait()
    if not re.fullmatch(r" +\([0-9.]+/100%\)\n", line):
        sys.exit("SIGUSR1 prints %r" % line)
END
finish
