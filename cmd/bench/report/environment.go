package report

// Environment is where, when, with which versions and settings runs were done.
type Environment struct {
	Date   string `json:"date"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`

	FileSystem string `json:"file_system"` // that the stacks' data are on

	Pinned  bool   `json:"pinned"` // stack on core 0, generator and devices on core 1
	Commit  string `json:"commit"`
	Changed bool   `json:"changed"` // the work tree differs from it

	Versions []string `json:"versions"`
	Stacks   []Stack  `json:"stacks"`

	Devices  int     `json:"devices"`
	Send     string  `json:"send"` // length of each phase
	Rate     float64 `json:"rate"`
	KillRate float64 `json:"kill_rate"`
	DeafRate float64 `json:"deaf_rate"`
	Rounds   int     `json:"rounds"`
	Kills    int     `json:"kills"`         // rounds of kill
	Memory   int     `json:"memory_rounds"` // of idle and deaf
}

func (s Stack) syncs() string {
	if s.Synced {
		return "syncs before"
	}
	return "does not sync before"
}

// Stack is what the table says about a stack.
type Stack struct {
	Name     string `json:"name"`
	Peer     bool   `json:"peer"`
	Synced   bool   `json:"synced"` // before its 200
	Meaning  string `json:"meaning"`
	Settings string `json:"settings"`
}
