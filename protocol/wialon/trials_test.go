package wialon_test

import (
	"slices"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

// What public bug reports and documents showed: no text is lost, and no device has to repeat it.
func TestTrials(t *testing.T) {
	for id, want := range map[string]struct {
		login   bool // the trial leaves it out
		answers string
		texts   []string
	}{
		"west-F3": {false, "#AL#1\r\n#AM#1\r\n#AD#1\r\n#AB#2\r\n", []string{
			"Прибыл", "Прибыл",
			"Прибыл",
		}},
		"west-F4a": {true, "#AD#1\r\n", []string{"Arrived"}},
	} {
		t.Run(id, func(t *testing.T) {
			tr := protocoltest.Trials(t, "west.jsonl")[id]
			s := protocoltest.NewSession(t, wialon.New(), nil)
			if want.login {
				s.Send("#L#" + imei + ";NA\r\n")
			}
			var answers string
			var texts []string
			for _, frame := range tr.Frames() {
				in := string(frame)
				if in[len(in)-1] != '\n' {
					in += "\r\n" // logins are written without their end
				}
				got := s.Send(in)
				answers += got.Answers
				for _, e := range got.Events {
					if e.Kind == protocol.KindText {
						texts = append(texts, e.Text)
					}
				}
				if got.Err != nil {
					t.Error(got.Err)
				}
			}
			if answers != want.answers || !slices.Equal(texts, want.texts) {
				t.Errorf("answered %q, texts %q", answers, texts)
			}
		})
	}
}
