#!/bin/sh
# A shell tool without Python: counts the words of text files, and leaves a figure and a table.
#     sh word_count.sh FILE...
set -eu
output=${CBI_QUEUE_OUTPUT:-.}
cat -- "$@" | tr -cs '[:alpha:]' '\n' | tr '[:upper:]' '[:lower:]' | sort | uniq -c | sort -rn > "$output/words.txt"
printf '{"different_words": %d}\n' "$(wc -l < "$output/words.txt")" > "$output/metrics.json"
echo "counted: $*"
