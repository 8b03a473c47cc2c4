# Runs one task of an attempt, at most once, and leaves its exit status in a file. Comments are stripped at load.
#
#   fairway-task FOLDER RANK BOOT WORKDIR DATA_KIB CGROUP NOFILE WAIT PROGRAM [ARGUMENT]...
#
# It must cost about a millisecond, so it starts no program but the task's. It must outlive the SIGTERM that is sent to
# the whole group, so it catches it: what is caught is the default again in a subshell, what is ignored would stay ignored.
# `set -C` makes `>` create a file or fail (O_EXCL): whoever creates the claim runs the program, and nobody after it.
set -C
dir=$1 rank=$2 boot=$3 workdir=$4 data=$5 cgroup=$6 nofile=$7 wait=$8
shift 8
# The shell's own words ("Terminated") are not the program's output.
exec 3>&2 2>/dev/null
trap : TERM INT HUP
unrun() { echo "unrun $1" > "$dir/$rank.exit"; exit 126; }
# Whoever started this is binding it to its cores.
if [ "$wait" ]; then read -r word || exit 0; exec < /dev/null; fi
read -r stat < /proc/self/stat
echo "$stat $boot" > "$dir/$rank.claim" || exit 0
# A stop is written down before anything is signalled, and looked for after the claim: one of the two sees the other.
if [ -e "$dir/stop" ]; then echo stopped > "$dir/$rank.exit"; exit 143; fi
(
  if [ "$cgroup" ]; then echo 0 >| "$cgroup/cgroup.procs" || unrun limit; fi
  if [ "$data" ]; then ulimit -d "$data" || unrun limit; fi
  if [ "$nofile" ]; then ulimit -S -n "$nofile" || unrun limit; fi
  cd "$workdir" || unrun workdir
  unset OLDPWD
  # When this cannot be executed, the shell says so, under its own name, in the program's error log.
  exec "$@" 2>&3 3>&-
)
status=$?
echo "exited $status" > "$dir/$rank.exit"
# Once more for whoever waits for this process: the file may not have been written, on a full disk.
exit "$status"
