# shellcheck shell=sh
# Read by the checks here. Each looks at the sources below $root and prints a
# line "FAILED: ..." for what it finds, and its totals.
root=${LINT_ROOT:-${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}}
lint=$(basename "$0")
cd "$root" || exit 1

# FOLDER...: C sources of ours in them, generated ones left out
c_files() {
  find "$@" -name '*.[ch]' ! -name '*.pb-c.[ch]' | sort
}

# stdin: lines of what is wrong, each one failure; $1: how many things were looked at
report() {
  awk -v name="lint-$lint" -v total="$1" '
    { print "FAILED: " $0; failed++ }
    END {
      if (total + 0 == 0) { print "FAILED: nothing to look at"; failed = 1; total = 1 }
      passed = total > failed ? total - failed : 0
      printf "%s: %d passed, %d failed, 0 skipped\n", name, passed, failed
      exit failed > 0
    }'
}

# C source on stdin, without comments and with strings emptied, line by line
code() {
  awk '
    {
      line = $0; out = ""
      while (line != "") {
        if (inside) {
          at = index(line, "*/")
          if (!at) break
          line = substr(line, at + 2); inside = 0
        } else if (match(line, /\/\*|\/\/|"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047/)) {
          token = substr(line, RSTART, 2)
          out = out substr(line, 1, RSTART - 1)
          if (token == "//") { line = ""; break }
          if (token == "/*") { inside = 1; line = substr(line, RSTART + 2) }
          else { out = out "\"\""; line = substr(line, RSTART + RLENGTH) }
        } else { out = out line; line = "" }
      }
      print out
    }' "$1"
}
