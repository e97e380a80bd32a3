# Shows the end of a log, and with `follow` what comes after, until nobody reads any more.
#
# Standard input, a line each: a marker that is printed first; the log; how many lines; `follow` or nothing.

IFS= read -r marker
IFS= read -r log
IFS= read -r lines
IFS= read -r follow
printf '\n%s\n' "$marker"
[ -n "$follow" ] || exec tail -n "$lines" -- "$log"

# When the connection ends, tail would notice it only at the next line; the end of standard input comes at once.
tail -n "$lines" -F -- "$log" &
cat >/dev/null
kill "$!"
