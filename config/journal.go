package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A journal keeps the generation that serves over a restart, so that a broken
// edit does not prevent a server from starting. What has changed is appended, in
// one write and one sync, however large the other maps are; when more of the file
// is out of date than not, it is written anew.
//
// It is a sequence of entries, each a line of JSON; that of a map is followed by the
// map's text. What comes after the last entry of a generation was not finished.
type journal struct {
	name  string
	id    string            // of the last generation in it
	sums  map[string]string // of its maps, by file; nil: the journal must be written anew
	held  map[string]string
	size  int64
	alive int64 // octets of size that are still needed
}

// A journalEntry has one of its first three fields.
type journalEntry struct {
	Map        string `json:"map,omitempty"`
	Drop       string `json:"drop,omitempty"`
	Generation string `json:"generation,omitempty"`

	Sum  string            `json:"sum,omitempty"`  // of a map
	Size int               `json:"size,omitempty"` // of its text
	Time time.Time         `json:"time,omitzero"`  // of a generation
	Held map[string]string `json:"held,omitempty"`
}

// kept is the last generation that a journal holds.
type kept struct {
	id      string
	sources []source
	held    map[string]string
	time    time.Time
	size    int64 // octets of the journal up to its end
}

// open reads the journal. Its maps count as files of the folder dir.
func (j *journal) open(dir string) (kept, error) {
	text, err := os.ReadFile(j.name)
	if err != nil {
		return kept{}, fmt.Errorf("read what was kept: %w", err)
	}
	k, err := lastGeneration(text, dir)
	if err != nil {
		return kept{}, fmt.Errorf("what was kept in %s is damaged: %w", j.name, err)
	}
	if k.size == int64(len(text)) { // else it was cut off, and nothing may be appended
		j.note(k)
	}
	return k, nil
}

// lastGeneration returns the last one in the text of a journal.
func lastGeneration(text []byte, dir string) (k kept, err error) {
	files := make(map[string]source)
	for rest := text; ; {
		e, content, after, whole := nextEntry(rest)
		if !whole {
			break
		}
		rest = after
		switch {
		case e.Map != "":
			files[e.Map] = source{name: filepath.Join(dir, filepath.Base(e.Map)), text: string(content)}
		case e.Drop != "":
			delete(files, e.Drop)
		case e.Generation != "":
			sources := inOrder(files)
			if digest(sources) != e.Generation {
				return k, errors.New("its maps are not those of its generation")
			}
			k = kept{e.Generation, sources, e.Held, e.Time, int64(len(text) - len(rest))}
		}
	}
	if len(k.sources) == 0 {
		return k, errors.New("it has no generation")
	}
	return k, nil
}

// nextEntry returns the first entry of text, the text of its map if it has one, and what
// follows. Whole is false if no complete entry is left.
func nextEntry(text []byte) (e journalEntry, content, rest []byte, whole bool) {
	line, after, ended := bytes.Cut(text, []byte("\n"))
	if !ended || json.Unmarshal(line, &e) != nil || e.Size < 0 || e.Size > len(after) {
		return e, nil, nil, false
	}
	return e, after[:e.Size], after[e.Size:], true
}

func inOrder(maps map[string]source) []source {
	var all []source
	for _, s := range maps {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b source) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all
}

// note notes that the journal holds k, and nothing after it.
func (j *journal) note(k kept) {
	j.id, j.held, j.size, j.alive = k.id, k.held, k.size, 0
	j.sums = make(map[string]string)
	for _, s := range k.sources {
		j.sums[s.base()] = s.sum()
		j.alive += int64(len(s.text))
	}
}

// save makes the journal hold r, and what must not serve when it is found in the
// folder.
func (j *journal) save(r *Recipients, held map[string]string) error {
	if j.sums != nil && j.id == r.id && maps.Equal(held, j.held) {
		return nil
	}
	const slack = 1 << 20
	err := errors.New("to be written anew")
	if j.sums != nil && j.size < 2*j.alive+slack {
		err = j.write(os.O_APPEND, j.name, r, held)
	}
	if err != nil {
		err = j.rewrite(r, held)
	}
	if err != nil {
		j.sums = nil
		return fmt.Errorf("keep %s: %w", filepath.Base(j.name), err)
	}
	j.id, j.held, j.alive = r.id, maps.Clone(held), 0
	j.sums = make(map[string]string, len(r.maps))
	for _, m := range r.maps {
		j.sums[m.base()] = m.sum
		j.alive += int64(len(m.doc.text))
	}
	return nil
}

// rewrite replaces the journal by one that holds r alone.
func (j *journal) rewrite(r *Recipients, held map[string]string) error {
	j.sums, j.size = nil, 0
	temp := j.name + ".new"
	if err := j.write(os.O_CREATE|os.O_TRUNC, temp, r, held); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, j.name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(j.name))
}

func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// write writes what the journal lacks of r and held to the file name, and syncs it.
func (j *journal) write(how int, name string, r *Recipients, held map[string]string) error {
	var b bytes.Buffer
	b.Grow(1 << 10)
	lines := json.NewEncoder(&b)
	gone := maps.Clone(j.sums)
	for _, m := range r.maps {
		delete(gone, m.base())
		if j.sums[m.base()] == m.sum {
			continue
		}
		_ = lines.Encode(journalEntry{Map: m.base(), Sum: m.sum, Size: len(m.doc.text)}) // a buffer takes all
		b.WriteString(m.doc.text)
	}
	for file := range gone {
		_ = lines.Encode(journalEntry{Drop: file})
	}
	_ = lines.Encode(journalEntry{Generation: r.id, Time: time.Now(), Held: held})

	f, err := os.OpenFile(name, os.O_WRONLY|how, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, &b)
	j.size += n
	return errors.Join(err, f.Sync(), f.Close())
}
