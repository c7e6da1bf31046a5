package mda_test

import (
	"os"
	"path/filepath"
	"testing"

	"postern/internal/crashfs"
	"postern/mail"
	"postern/mda"
)

// Power is lost before each operation of a delivery to three, and then the client
// tries again. Even if all of the ledger survived, and of the disk only what had
// to, whoever is in the ledger has the message; and if the ledger is lost, it
// costs a second copy, and nobody the message.
func TestLedgerAfterPowerLoss(t *testing.T) {
	const text = "Subject: hi\r\n\r\nHow are you?\r\n"
	for op := 0; ; op++ {
		disk := crashfs.New()
		disk.PowerLoss = op
		dir := t.TempDir()
		first := openLedger(t, dir, onDisk(disk, false)).Deliver(t.Context(), envelope(three...), message(text))
		survived, err := os.ReadFile(filepath.Join(dir, "delivered"))
		if err != nil {
			t.Fatal(err)
		}
		for _, ledger := range [][]byte{survived, nil} {
			for after := range disk.Fates() {
				before := copies(after)
				again := retry(t, after, ledger, text)
				for i, n := range copies(after) {
					want := before[i] + 1
					if ledger != nil && first[i].OK() {
						want = 1
					}
					if !again[i].OK() || n != want {
						t.Errorf("%s heard %v, then %v; had %d copies, has %d", three[i], first[i], again[i], before[i], n)
					}
				}
				if t.Failed() {
					t.Fatalf("power lost before operation %d\n%s", op, disk.Trace())
				}
			}
		}
		if disk.Ops() < op {
			return
		}
	}
}

// retry delivers again to what is on disk after a crash, with what is left of the
// ledger.
func retry(t *testing.T, disk *crashfs.Disk, ledger []byte, text string) []mail.Reply {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delivered")
	if err := os.WriteFile(path, ledger, 0o600); err != nil {
		t.Fatal(err)
	}
	l := mda.OpenLedger(path, 1000, onDisk(disk, false), silent)
	defer l.Close()
	env := envelope(three...)
	env.ID = "again"
	return l.Deliver(t.Context(), env, message(text))
}

// copies returns how many messages each of the three has on disk.
func copies(disk *crashfs.Disk) []int {
	n := make([]int, len(three))
	for i, rcpt := range three {
		n[i] = len(disk.Files(rcpt + "/new"))
	}
	return n
}
