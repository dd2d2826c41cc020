#!/bin/sh
# Trains the model that ships, from the base encoder to int8: two runs, their average, int8, thresholds.
#   DATA=<the project's data folder> BASE=<the imported base encoder> KLANKBORD=<the program> models/nl-en/train.sh OUT
# The dev files choose epochs, calibration and thresholds; none is trained on. It takes some 75 minutes on two cores with AVX-512 BF16.
set -eu
out=$1
models=$(dirname "$0")/..
dev="--dev $DATA/dev_real_nl.jsonl --dev $DATA/dev_real_en.jsonl --dev $DATA/dev_written.jsonl"
# Real messages and replies count twice.
data="--data $DATA/train/written_nl.jsonl --data $DATA/train/written_en.jsonl --data $DATA/train/real_permissive.jsonl --data $DATA/train/real_permissive.jsonl"
own() { for part in "$@" replies; do printf -- ' --data %s' "$models/corpus/$part.jsonl"; done; }
one=$(own abroad affairs border corrections english facts hard pages pandemic places replies reviews service stays talk threads timeline tweets visits)
two=$(own abroad affairs answers border corrections english facts hard misinformed monitor pages pandemic places replies reviews service spring stays talk threads timeline tweets visits)
public="--auxiliary $DATA/train/public_permissive.jsonl --labels $models/readings/public_permissive.jsonl"
how="--batch-tokens 768 --batch-messages 48 --rate 1.8e-4 --average 0.998 --epochs 3"

# shellcheck disable=SC2086 # lists of arguments
"$KLANKBORD" train --from "$BASE" $data $one $public $dev $how --varied 0.4 --agree 1 --out "$out/one"
# shellcheck disable=SC2086
"$KLANKBORD" train --from "$BASE" $data $two $public $dev $how --varied 0.2 --agree 2 --out "$out/two"
# shellcheck disable=SC2086
"$KLANKBORD" soup "$out/one" "$out/two" $dev --name nl-en --version 0.4.1 --out "$out/nl-en-f16"
"$KLANKBORD" quantize --from "$out/nl-en-f16" --out "$out/nl-en" --messages "$models/../benches/data/messages.jsonl"
# What ships is what thresholds are fitted on.
# shellcheck disable=SC2086
"$KLANKBORD" tune --from "$out/nl-en" $dev --version 0.4.1+int8 --out "$out/nl-en"
