package all

import (
	"testing"

	"go.uber.org/goleak"

	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/platformtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEachPlatformHasItsEmulator starts all emulators at once, as the demo does, and opens each platform with the table
// that its emulator gives.
func TestEachPlatformHasItsEmulator(t *testing.T) {
	kinds, emulators := Kinds(), Emulators()
	accounts := map[string]bool{}
	for i, k := range kinds {
		if emulators[i].Name != k.Name {
			t.Errorf("platform %s has the emulator of %s", k.Name, emulators[i].Name)
		}
		e, err := emulators[i].Start(emulator.Options{})
		if err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		})
		p := platformtest.At(t, k, e)
		if accounts[k.Name] || accounts[p.Account()] {
			t.Errorf("%s is there twice", k.Name)
		}
		accounts[k.Name], accounts[p.Account()] = true, true
		if _, err := emulators[i].Start(emulator.Options{Set: map[string]string{"no such setting": "1"}}); err == nil {
			t.Errorf("%s: a setting that there is not is accepted", k.Name)
		}
	}
}
