# Sourced by the scripts that need a build: sets the machine up and builds, quietly when nothing is to be done.
# Needs `root`, the top of the checkout.

build_dir=${CD4ML_BUILD_DIR:-$root/build/release}
configure_with=(-DCMAKE_BUILD_TYPE=Release)

# sanitize KIND: another build, with sanitizers: address or thread.
sanitize() {
  local short=${1:0:1}san
  build_dir=${CD4ML_BUILD_DIR:-$root/build/$short}
  configure_with=(-DCMAKE_BUILD_TYPE=Debug "-DCD4ML_SANITIZE=$1")
}

# build TARGET...: installs what is missing, configures when needed and builds the targets.
build() {
  "$root/scripts/setup"
  local log
  log=$(mktemp)
  if [[ ! -e $build_dir/build.ninja ]]; then
    echo "build: configuring in ${build_dir#"$root"/}"
    cmake -S "$root" -B "$build_dir" -G Ninja "${configure_with[@]}" >"$log" 2>&1 || fail_build "$log"
  fi
  local steps
  steps=$(ninja -C "$build_dir" -n "$@" | grep -c '^\[' || true)
  if ((steps > 1)); then
    echo "build: $steps steps; the first build takes some minutes, later ones seconds"
    show_progress <(ninja -C "$build_dir" "$@" 2>&1 && echo "build-succeeded" || echo "build-failed") "$log"
    tail -n 1 "$log" | grep -qx build-succeeded || fail_build "$log"
  else
    ninja -C "$build_dir" "$@" >"$log" 2>&1 || fail_build "$log"
  fi
  rm -f "$log"
}

# Copies a build's output to a log and says every tenth of it how far it is.
show_progress() {
  local line shown=0 started=$SECONDS
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$2"
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] && ((BASH_REMATCH[1] * 10 / BASH_REMATCH[2] > shown)); then
      shown=$((BASH_REMATCH[1] * 10 / BASH_REMATCH[2]))
      echo "build: ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]} after $((SECONDS - started)) s"
    fi
  done <"$1"
}

fail_build() {
  grep -E 'error|FAILED|Error' "$1" | head -n 40 >&2 || tail -n 40 "$1" >&2
  echo "build: failed; the whole output is in $1" >&2
  exit 1
}
