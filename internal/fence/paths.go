package fence

import (
	"os"
	"path/filepath"
)

// Existing returns the nearest folder on the way to path that is there: what is
// not there yet will come to be in it, or be mounted.
func Existing(path string) string {
	for ; path != "/"; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			break
		}
	}
	return path
}

// WithTargets returns the folder dir, and those that the links in it lead to.
func WithTargets(dir string) []string {
	all := []string{dir, Target(dir)}
	if all[1] != dir { // a link that may lead to its neighbour tomorrow
		all = append(all, filepath.Dir(all[1]))
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			all = append(all, filepath.Dir(Target(filepath.Join(dir, e.Name()))))
		}
	}
	return all
}

// Target returns the path that name leads to.
func Target(name string) string {
	if t, err := filepath.EvalSymlinks(name); err == nil {
		return t
	}
	return name
}
