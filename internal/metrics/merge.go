package metrics

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Merge writes the metrics of several processes as those of one, in the text
// format of Prometheus, each with the process's name as its label "half". An
// empty text is a process that does not run.
func Merge(w io.Writer, texts map[string]string) error {
	families := make(map[string]*dto.MetricFamily)
	for _, half := range slices.Sorted(maps.Keys(texts)) {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		parsed, err := parser.TextToMetricFamilies(strings.NewReader(texts[half]))
		if err != nil {
			return fmt.Errorf("metrics of %s: %w", half, err)
		}
		for name, family := range parsed {
			label(family, half)
			if known, ok := families[name]; ok {
				known.Metric = append(known.Metric, family.Metric...)
			} else {
				families[name] = family
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if _, err := expfmt.MetricFamilyToText(w, families[name]); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

func label(family *dto.MetricFamily, half string) {
	name := "half"
	for _, m := range family.Metric {
		m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: &half})
	}
}
