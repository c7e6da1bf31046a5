package main

import (
	"os"
	"testing"
)

// Every edit has its place in the product as it is.
func TestMutantsFollowTheCode(t *testing.T) {
	for _, m := range mutants {
		if workloadNamed(m.Workload) < 0 {
			t.Errorf("%s: no workload is %s", m.Name, m.Workload)
		}
		file, err := overlay("../..", t.TempDir()+"/src", m.Edits)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if _, err := overlay("../..", t.TempDir()+"/src", []Edit{{"mailbox/osfs.go", "no such text", ""}}); err == nil {
		t.Error("an edit without its text is no error")
	}
}

func workloadNamed(name string) int {
	for i, w := range workloads {
		if w.Name == name {
			return i
		}
	}
	return -1
}
