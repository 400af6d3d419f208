// Package front is what a developer would put together of known parts to do the product's work: one
// HTTP front over several brokers, queues and stores of the status.
package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Status of a text.
const (
	unknown   = -1
	waiting   = 0
	delivered = 1
)

// maxBody bounds a request, bytes; 500 ids have 10,000.
const maxBody = 1 << 16

// Options are those of a front; which of them count depends on its kind.
type Options struct {
	Kind    string // see Kinds
	HTTP    string // address to listen on
	Gateway string // address of the broker for devices, or to listen on for them
	NATS    string // URL
	Redis   string // address
	Dir     string // for the data of an embedded broker

	Publishers int  // connections that publish (nats)
	Sync       bool // the embedded broker syncs each write (mochi)
	Workers    int  // asynq: 0 is its default, the number of cores, and all else its default too
}

// backend is what stands behind the front.
type backend interface {
	// send returns when the text is queued for the device.
	send(ctx context.Context, id int64, device int, text string) error
	statuses(ctx context.Context, ids []int64) ([]int, error)
}

// Kinds of fronts.
const (
	NATS      = "nats"
	Mochi     = "mochi"
	Mosquitto = "mosquitto"
	Asynq     = "asynq"
)

// Run serves until the context ends.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	b, err := open(ctx, o, log)
	if err != nil {
		return fmt.Errorf("front %s: %w", o.Kind, err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.HTTP)
	if err != nil {
		return fmt.Errorf("front %s: %w", o.Kind, err)
	}
	s := &http.Server{Handler: handler(b), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })() // ends Serve
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("front %s: %w", o.Kind, err)
	}
	return nil
}

func open(ctx context.Context, o Options, log *slog.Logger) (backend, error) {
	switch o.Kind {
	case NATS:
		return newNATS(ctx, o, log)
	case Mochi:
		return newMochi(o, log)
	case Mosquitto:
		return newMosquitto(ctx, o, log)
	case Asynq:
		return newAsynq(ctx, o, log)
	default:
		return nil, errors.New("there is no such kind")
	}
}

func handler(b backend) http.Handler {
	var last atomic.Int64
	last.Store(time.Now().Unix() << 22) // ids go on after a restart
	mux := http.NewServeMux()
	mux.HandleFunc("POST /send", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Device  int    `json:"device"`
			Message string `json:"message"`
		}
		if !decode(w, r, &in) {
			return
		}
		id := last.Add(1)
		if err := b.send(r.Context(), id, in.Device, in.Message); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer := strconv.AppendInt([]byte(`{"success":true,"id":`), id, 10)
		_, _ = w.Write(append(answer, '}')) // fails where the client is gone
	})
	mux.HandleFunc("POST /status", func(w http.ResponseWriter, r *http.Request) {
		var ids []int64
		if !decode(w, r, &ids) {
			return
		}
		list, err := b.statuses(r.Context(), ids)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list) // fails where the client is gone
	})
	return mux
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}
