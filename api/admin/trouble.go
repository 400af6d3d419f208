package admin

import (
	"context"
	"net/http"
	"time"

	"trackchat/queue"
)

// Trouble is one warning or error of this process's log.
type Trouble struct {
	Time    time.Time         `json:"time"`
	Level   string            `json:"level"` // warn, error, …
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields"`
}

// DeviceTrouble are the devices of this process that somebody has to look after, and the tracking
// servers behind it.
type DeviceTrouble struct {
	Refused   []RefusedDevice // the last one first
	Silent    []SilentDevice  // get texts and acknowledge none
	Upstreams []Upstream      // by address
}

// Upstream is a tracking server that devices are relayed to.
type Upstream struct {
	Address    string     `json:"address"`
	Sessions   int64      `json:"sessions"` // connections to it
	State      string     `json:"state"`    // up, or down: the last dial has failed
	DownSince  *time.Time `json:"down_since,omitempty"`
	DialErrors int64      `json:"dial_errors"`          // since the start
	LastError  string     `json:"last_error,omitempty"` // of a dial
	BytesUp    int64      `json:"bytes_up"`             // that devices have sent it
	BytesDown  int64      `json:"bytes_down"`           // that it has sent devices
}

// RefusedDevice is a device that was not let in within a day.
type RefusedDevice struct {
	Protocol string `json:"protocol"` // of the port it came to
	// what it calls itself, else its address.
	Device string `json:"device"`
	// unknown_device, blocked, bad_credentials, wrong_protocol, ….
	Reason    string `json:"reason"`
	LooksLike string `json:"looks_like,omitempty"` // with wrong_protocol: what it speaks
	// whose device it is, where that is known now.
	Tracker queue.TrackerID `json:"tracker_id,omitempty"`
	Label   string          `json:"label,omitempty"`
	Remote  string          `json:"remote"` // address and port, the last time
	First   time.Time       `json:"first"`
	Last    time.Time       `json:"last"`
	Times   int             `json:"times"`
}

// SilentDevice is a device that left the last texts unacknowledged.
type SilentDevice struct {
	Tracker  queue.TrackerID `json:"tracker_id"`
	Label    string          `json:"label"`
	Protocol string          `json:"protocol"`
	Device   string          `json:"device"`
	Message  int64           `json:"message_id"` // what it was sent last
	Since    time.Time       `json:"since"`      // when it was sent the first part that it left so
	Last     time.Time       `json:"last"`       // when one was waited for last
	Times    int             `json:"times"`      // parts
}

// troubleAdmin answers /admin/errors: the last warnings and errors of this process, newest first,
// the devices that have trouble with it, and the tracking servers behind it.
type troubleAdmin struct {
	*administration
	recent  func() []Trouble
	devices func() DeviceTrouble // nil: there are none
}

func (a *troubleAdmin) routes() routes {
	return routes{"/admin/errors": {http.MethodGet: a.handle(a.list)}}
}

// troubleMembers are the members of the answer.
type troubleMembers struct {
	List    []Trouble       `json:"list"`
	Refused []RefusedDevice `json:"refused"`
	Silent  []SilentDevice  `json:"not_acknowledging"`
	// without any the member is missing.
	Upstreams []Upstream `json:"upstreams,omitempty"`
}

func (a *troubleAdmin) list(context.Context, *http.Request) (any, error) {
	answer := troubleMembers{List: a.recent(), Refused: []RefusedDevice{}, Silent: []SilentDevice{}}
	if answer.List == nil {
		answer.List = []Trouble{}
	}
	for i := range answer.List {
		answer.List[i].Time = answer.List[i].Time.UTC()
	}
	if a.devices == nil {
		return answer, nil
	}
	found := a.devices()
	for _, d := range found.Refused {
		d.First, d.Last = d.First.UTC(), d.Last.UTC()
		answer.Refused = append(answer.Refused, d)
	}
	for _, d := range found.Silent {
		d.Since, d.Last = d.Since.UTC(), d.Last.UTC()
		answer.Silent = append(answer.Silent, d)
	}
	answer.Upstreams = found.Upstreams
	return answer, nil
}
