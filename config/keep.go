package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A keptMap is one file of the last good access rules, which are kept so that a
// broken edit does not prevent a server from starting.
type keptMap struct {
	Name string
	Text string
}

// keep writes sources to the file name, whole or not at all.
func keep(name string, sources []source) error {
	files := make([]keptMap, len(sources))
	for i, s := range sources {
		files[i] = keptMap{s.name, s.text}
	}
	text, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(name), err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(name), err)
	}
	defer os.Remove(f.Name()) // which is gone if all went well
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(name), err)
	}
	return nil
}

// keptSources returns what keep wrote.
func keptSources(name string) ([]source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	var files []keptMap
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("read what was kept in %s: %w", name, err)
	}
	var sources []source
	for _, f := range files {
		sources = append(sources, source{name: f.Name, text: f.Text})
	}
	return sources, nil
}
