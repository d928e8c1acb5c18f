#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, one command: is everything right on it, and how fast is it?
#
#   tests/gpu.sh [RESULTS]          what was found goes to RESULTS [default: runs/gpu/results.md]
#   PYTHON=env/bin/python tests/gpu.sh        with a python that has torch: the speed table has peers
#   tests/gpu.sh --pack FOLDER      builds only, into FOLDER: for a machine with a GPU and no Rust, where it then runs with
#   PACKED=FOLDER tests/gpu.sh
#
# 1. Every file of tests/run, every layer, loss and optimiser of the library, every model of tests/parity and tests/models on the GPU, against
#    recorded values; the programs of tests/speed with few examples against f64.
# 2. Some steps of three programs under `compute-sanitizer` (memcheck), where the CUDA toolkit has put it.
# 3. The nine programs of tests/speed against PyTorch eager and torch.compile.
#
# Eight minutes are meant to be enough, once built: a check of 1 or 2 is stopped after six (and failed), and no program of 3 is begun when less is left than the longest
# took; the results say which were not measured.
#
# Without a GPU it says so and ends with 1.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

# The tests are started by hand: cargo would put the driver that stands in before NVIDIA's.
build() {
  cargo build --release --locked
  programs=$(cargo test --locked --no-run --message-format=json -p bdl --test parity -p bdl-elaborate --test run_files --test parity |
    grep -o '"executable":"[^"]*"' | cut -d'"' -f4)
}

if [ "${1:-}" = --pack ]; then
  folder=${2:?where to}
  build
  mkdir -p "$folder"
  # Tests find their files where they were built.
  pwd >"$folder/built_in"
  for program in target/release/bdl $programs; do
    strip -o "$folder/$(basename "$program")" "$program"
  done
  exit 0
fi

results=${1:-runs/gpu/results.md}
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "There is no NVIDIA GPU here (nvidia-smi finds none). The tests of \`cargo test\` run the same code on an interpreter."
  exit 1
fi
mkdir -p "$(dirname "$results")"
gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -1)
{ echo "# $gpu"; echo; date -u +%Y-%m-%d; git log -1 --format='commit %h' 2>/dev/null || true; echo; } >"$results"
note() { echo "$1" | tee -a "$results"; }

if [ -n "${PACKED:-}" ]; then
  bdl=$PACKED/bdl
  programs=$(find "$PACKED" -type f -perm -u+x ! -name bdl | sort)
  built_in=$(cat "$PACKED/built_in")
  if [ ! -e "$built_in" ]; then
    mkdir -p "$(dirname "$built_in")"
    ln -s "$PWD" "$built_in"
  fi
  # Tests of the command run the one that was built beside them.
  mkdir -p "$built_in/target/debug"
  cp "$bdl" "$built_in/target/debug/bdl"
else
  build
  bdl=target/release/bdl
fi

# Right or not is asked of all at once: most of the time is the driver's compiler's, which has one thread for each process. Each writes a line for the results
# to a file of its own, and behind it what was said where something is wrong.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

one_test() {
  local program=$1 log=$2 name only=()
  name=$(basename "$program" | sed 's/-[0-9a-f]*$//')
  case "$program" in *parity*) if "$program" --list | grep -q on_a_gpu; then only=(on_a_gpu at_their_own_sizes); fi ;; esac
  if BDL_GPU=1 env -u LD_LIBRARY_PATH timeout 360 "$program" "${only[@]}" >"$log.said" 2>&1; then
    echo "- $name: $(grep -oE '[0-9]+ passed' "$log.said" | tail -1)" >"$log"
  else
    { echo "- $name: FAILED"; sed 's/^/      /' "$log.said"; } >"$log"
  fi
}

one_memcheck() {
  local program=$1 precision=$2 log=$3
  if timeout 360 "$checker" --tool memcheck --error-exitcode 9 "$bdl" bench "tests/speed/$program.bdl" --device cuda --precision "$precision" --seconds 0 \
    >"$log.said" 2>&1; then
    echo "- memcheck of $program in $precision: $(grep -o 'ERROR SUMMARY.*' "$log.said" | tail -1)" >"$log"
  else
    { echo "- memcheck of $program in $precision: FAILED"; tail -40 "$log.said" | sed 's/^/      /'; } >"$log"
  fi
}

begun=$SECONDS
number=10
for program in $programs; do
  one_test "$program" "$logs/$number" &
  number=$((number + 1))
done
checker=$(command -v compute-sanitizer || true)
if [ -n "$checker" ]; then
  for run in mlp:tf32 gin:tf32 transformer:tf32 transformer:bf16; do
    one_memcheck "${run%:*}" "${run#*:}" "$logs/$number" &
    number=$((number + 1))
  done
else
  echo "- memcheck: SKIPPED, there is no compute-sanitizer" >"$logs/$number"
  number=$((number + 1))
fi
wait
failed=0
said=$(find "$logs" -name '??' | wc -l)
if [ "$said" != $((number - 10)) ]; then
  note "- $((number - 10 - said)) of the checks ended without a word: FAILED"
  failed=1
fi
for log in "$logs"/??; do
  tee -a "$results" <"$log"
  if head -1 "$log" | grep -q FAILED; then failed=1; fi
done
note "- all of this in $((SECONDS - begun)) s"

note ""
"$python" tests/speed/compare.py --bdl "$bdl" --device cuda --torch "$python" --rounds 2 --seconds 0.3 --within $((470 - (SECONDS - begun))) --out runs/gpu/speed
cat runs/gpu/speed/speed.md >>"$results"
note "- everything in $((SECONDS - begun)) s"
echo "written to $results"
exit $failed
