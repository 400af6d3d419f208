package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// longestLine bounds the line of one run, bytes.
const longestLine = 1 << 20

// Read reads an environment and the lines of runs.
func Read(environment, runs io.Reader) (*Results, error) {
	r := &Results{}
	if err := json.NewDecoder(environment).Decode(&r.Environment); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	lines := bufio.NewScanner(runs)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var run Run
		if err := json.Unmarshal(lines.Bytes(), &run); err != nil {
			return nil, fmt.Errorf("run %d: %w", len(r.Runs)+1, err)
		}
		r.Runs = append(r.Runs, run)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return r, nil
}
