package main

import (
	"time"

	"trackchat/api"
)

// deviceTrouble is what the gateway of this process knows of devices in trouble, with the names
// that the directory has for them.
func (a *App) deviceTrouble() api.DeviceTrouble {
	gw := a.serving.Load()
	if gw == nil {
		return api.DeviceTrouble{}
	}
	directory := a.directory.Current()
	var found api.DeviceTrouble
	for _, d := range gw.RefusedDevices() {
		device := api.RefusedDevice{
			Protocol: d.Protocol, Device: d.Device, Reason: d.Reason, LooksLike: d.Speaks,
			Remote: d.Remote.String(), Times: d.Times,
			First: time.UnixMilli(d.FirstMs), Last: time.UnixMilli(d.LastMs),
		}
		protocol := d.Protocol
		if d.Speaks != "" {
			protocol = d.Speaks // the directory may know it by what it really is
		}
		if t, ok := directory.Device(protocol, d.Device); ok {
			device.Tracker, device.Label = t.ID, t.Label
		}
		found.Refused = append(found.Refused, device)
	}
	for _, d := range gw.SilentDevices() {
		t, ok := directory.Tracker(d.Tracker)
		if !ok {
			continue // removed meanwhile
		}
		found.Silent = append(found.Silent, api.SilentDevice{
			Tracker: d.Tracker, Label: t.Label, Protocol: d.Protocol, Device: t.DeviceID,
			Message: d.Message,
			Since:   time.UnixMilli(d.SinceMs), Last: time.UnixMilli(d.LastMs), Times: d.Times,
		})
	}
	return found
}
