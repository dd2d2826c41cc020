#!/bin/sh
# Trains the model that ships, from the base encoder to int8: three runs, their average, int8.
#   DATA=<the project's data folder> BASE=<the imported base encoder> KLANKBORD=<the program> models/nl-en/train.sh OUT
# The dev files choose epochs, calibration and thresholds; none is trained on. The runs took 57, 58 and 35 minutes on two cores
# with builds beside them.
set -eu
out=$1
corpus=$(dirname "$0")/../corpus
dev="--dev $DATA/dev_real_nl.jsonl --dev $DATA/dev_real_en.jsonl --dev $DATA/dev_written.jsonl"
shared="--data $DATA/train/written_nl.jsonl --data $DATA/train/written_en.jsonl --data $DATA/train/real_permissive.jsonl"
auxiliary="--auxiliary $DATA/train/public_permissive.jsonl"
own=""
for part in affairs english facts hard places replies reviews service; do own="$own --data $corpus/$part.jsonl"; done
larger="--batch-tokens 768 --batch-messages 48 --rate 1.8e-4"

# shellcheck disable=SC2086 # lists of arguments
"$KLANKBORD" train --from "$BASE" $shared $auxiliary $dev --out "$out/one"
# shellcheck disable=SC2086
"$KLANKBORD" train --from "$BASE" $shared --data "$DATA/train/real_permissive.jsonl" $own $auxiliary $dev $larger \
  --average 0.998 --varied 0.3 --out "$out/two"
# shellcheck disable=SC2086
"$KLANKBORD" train --from "$BASE" $shared --data "$corpus/replies.jsonl" $auxiliary $dev $larger --seed 2 --out "$out/three"
# Named twice, the first two count twice.
# shellcheck disable=SC2086
"$KLANKBORD" soup "$out/one" "$out/one" "$out/two" "$out/two" "$out/three" $dev --name nl-en --version 0.2.0 --out "$out/nl-en-f16"
"$KLANKBORD" quantize --from "$out/nl-en-f16" --out "$out/nl-en" --messages "$(dirname "$0")/../../benches/data/messages.jsonl"
