#!/bin/sh
# Trains the model that ships, from the base encoder to int8: two runs, their average, int8.
#   DATA=<the project's data folder> BASE=<the imported base encoder> KLANKBORD=<the program> models/nl-en/train.sh OUT
# The dev files choose epochs, calibration and thresholds; none is trained on. It takes about an hour on two cores with AVX-512 BF16.
set -eu
out=$1
models=$(dirname "$0")/..
dev="--dev $DATA/dev_real_nl.jsonl --dev $DATA/dev_real_en.jsonl --dev $DATA/dev_written.jsonl"
data="--data $DATA/train/written_nl.jsonl --data $DATA/train/written_en.jsonl --data $DATA/train/real_permissive.jsonl"
own() { for part in "$@"; do printf -- ' --data %s' "$models/corpus/$part.jsonl"; done; }
one=$(own affairs corrections english facts hard pages places replies reviews service tweets)
two=$(own affairs corrections english facts hard pages places replies reviews service talk tweets)
public="--auxiliary $DATA/train/public_permissive.jsonl --labels $models/readings/public_permissive.jsonl --auxiliary-take 1000"
# Real messages count twice.
twice="--data $DATA/train/real_permissive.jsonl"
how="--batch-tokens 768 --batch-messages 48 --rate 1.8e-4 --average 0.998"

# shellcheck disable=SC2086 # lists of arguments
"$KLANKBORD" train --from "$BASE" $data $one $public $dev $twice $how --varied 0.3 --out "$out/one"
# shellcheck disable=SC2086
"$KLANKBORD" train --from "$BASE" $data $two $public $dev $twice $how --varied 0.15 --epochs 3 --out "$out/two"
# Named twice, the second counts twice.
# shellcheck disable=SC2086
"$KLANKBORD" soup "$out/one" "$out/two" "$out/two" $dev --name nl-en --version 0.3.0 --out "$out/nl-en-f16"
"$KLANKBORD" quantize --from "$out/nl-en-f16" --out "$out/nl-en" --messages "$models/../benches/data/messages.jsonl"
