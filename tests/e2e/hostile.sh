# Tries to outlive its stage, in ten ways. What it starts carries $CD4ML_RUN in its environment or $mark in its name, and
# ends by itself some time, so that the machine outlives a keeper that fails.
mark=${CD4ML_RUN/\//-}-end

# Goes on in another process all the time; $1: how often.
renew() {
  trap '' TERM
  exec {pause}<>"$DIR/fifo"
  read -r -t 0.01 -u "$pause"
  (($1 == 0)) || (exec -a "$mark" bash hostile.sh renew $(($1 - 1))) &
  exit
}

# Doubles itself $1 times.
bomb() {
  trap '' TERM INT HUP
  if (($1 > 0)); then
    bomb $(($1 - 1)) &
    bomb $(($1 - 1)) &
  fi
  sleep 424
}

up() { echo "$CD4ML_RUN" >> "$DIR/up"; }

if [[ ${1:-} == renew ]]; then renew "$2"; fi
case $((${CD4ML_RUN##*/} % 10)) in
  0) setsid sleep 424 & ;;
  1) ( ( sleep 424 & ) & ) & ;;
  2) nohup sleep 424 > nohup.out & ;;
  3) trap '' TERM INT HUP; sleep 424 & ;;
  4) setsid sleep 424 & kill -STOP $!; up; kill -STOP $$ ;;
  5) ( cd /; env -i mark="$mark" setsid bash -c 'exec 0</dev/null 1>&0 2>&0; (exec -a "$mark" sleep 424) & exit' ) & ;;
  6) bomb 4 & ;;
  7) renew 2000 & ;;
  8) trap 'setsid sleep 424 & sleep 424 &' TERM; up; while ((SECONDS < 424)); do sleep 0.5; done ;;
  9) trap '' TERM; ( cd /; env -i mark="$mark" setsid bash -c 'trap "" TERM; (kill -STOP $BASHPID; exec -a "$mark" sleep 424) &' ) & ;;
esac
up
exec -a "$mark" sleep 424
