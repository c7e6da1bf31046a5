package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A KeyChange is a key of postern.toml that has another value than before, as it
// would be written; "" where it is not written.
type KeyChange struct {
	Key string `json:"key"`
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// Changed returns the keys that are written otherwise in now, unless it means the
// same.
func (c *Config) Changed(now *Config) []KeyChange {
	was, is := *c, *now
	was.written, is.written = nil, nil
	if reflect.DeepEqual(was, is) {
		return nil
	}
	all := maps.Clone(c.written)
	maps.Copy(all, now.written)
	var changes []KeyChange
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if c.written[key] != now.written[key] {
			changes = append(changes, KeyChange{key, c.written[key], now.written[key]})
		}
	}
	return changes
}

// flatten returns the values of a document by their full keys.
func flatten(values map[string]any) map[string]string {
	all := make(map[string]string)
	var add func(prefix string, values map[string]any)
	add = func(prefix string, values map[string]any) {
		for key, v := range values {
			key = prefix + tomlKey(key)
			if inner, isTable := v.(map[string]any); isTable {
				add(key+".", inner)
				continue
			}
			all[key] = written(v)
		}
	}
	add("", values)
	return all
}

// written returns a value about as it is written.
func written(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		return array(v)
	case []map[string]any:
		return array(v)
	case map[string]any:
		inner := flatten(v)
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(inner)) {
			parts = append(parts, key+" = "+inner[key])
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return fmt.Sprint(v)
}

func array[T any](values []T) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = written(v)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
