package mailbox_test

import (
	"path/filepath"
	"strings"
	"testing"

	"postern/mailbox"
)

func TestDetailFolder(t *testing.T) {
	root := t.TempDir()
	store, err := mailbox.Open(root, mailbox.Options{Host: "mda.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	box, err := store.Maildir("ann")
	if err != nil {
		t.Fatal(err)
	}
	deliverTo := func(detail string, most int) string {
		t.Helper()
		folder, err := box.DetailFolder(detail, most)
		if err != nil {
			t.Fatal(err)
		}
		d, err := folder.Begin(mailbox.Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		d.Abort()
		path, err := filepath.Rel(root, folder.String())
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		detail string
		most   int
		want   string
	}{
		{"lists", 2, "ann/.lists"},
		{"lists.go", 2, "ann/.lists.go"},
		{"three", 2, "ann"},
		{"lists", 2, "ann/.lists"},
		{"lists", 0, "ann/.lists"},
		{"Bücher", 3, "ann/.B&APw-cher"},
		{"", 9, "ann"},
		{"inbox", 9, "ann"},
		{"INBOX.x", 9, "ann"},
		{".", 9, "ann"},
		{"..", 9, "ann"},
		{"../bob", 9, "ann"},
		{"x/y", 9, "ann"},
		{".x", 9, "ann"},
		{"x.", 9, "ann"},
		{"*", 9, "ann"},
		{"x\x00", 9, "ann"},
		{"\xff", 9, "ann"},
		{strings.Repeat("x", 300), 9, "ann"},
	} {
		if got := deliverTo(tt.detail, tt.most); got != tt.want {
			t.Errorf("%q of at most %d goes to %s, want %s", tt.detail, tt.most, got, tt.want)
		}
	}
	names, err := box.Folders()
	if err != nil || len(names) != 3 {
		t.Errorf("folders %q, %v", names, err)
	}
}
