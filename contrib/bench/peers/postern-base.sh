# Another build of Postern, to be compared with the present one: run --ab.
POSTERN_PROGRAM=${POSTERN_BASE_BIN:-}
. "$BENCH/peers/postern.sh"
PEER_DESC="$PEER_DESC (the revision to compare with)"
