package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// median is the middle of values, or the mean of the two in the middle; NaN where there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// number writes a number with three digits that count, and commas between thousands.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return commas(int64(math.Round(v)))
	}
}

func commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// spread writes the median of values and, where there are several, the lowest and the highest.
func spread(values []float64) string {
	if len(values) < 2 {
		return number(median(values))
	}
	return fmt.Sprintf("%s (%s–%s)", number(median(values)), number(slices.Min(values)),
		number(slices.Max(values)))
}

// each writes all values.
func each(values []int) string {
	words := make([]string, 0, len(values))
	for _, v := range values {
		words = append(words, strconv.Itoa(v))
	}
	return strings.Join(words, " ")
}

// collect takes a value of each run that has one.
func collect(runs []Run, value func(*Run) (float64, bool)) (values []float64) {
	for i := range runs {
		if v, ok := value(&runs[i]); ok {
			values = append(values, v)
		}
	}
	return values
}
