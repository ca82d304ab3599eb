# Prints numbered lines until it is let go, and leaves behind how many.
echo "$CD4ML_STAGE" >> "$DIR/starts"
exec {pause}<>"$DIR/fifo"   # Nobody writes there, so reading it is a pause without a process.
lines=0
until [[ -e $DIR/go-$CD4ML_STAGE ]]; do
  echo "line $((++lines)) of $CD4ML_STAGE"
  read -r -t 0.05 -u "$pause" || true
done
echo "no more of $CD4ML_STAGE"
echo "$lines" > "$DIR/lines-$CD4ML_STAGE"
