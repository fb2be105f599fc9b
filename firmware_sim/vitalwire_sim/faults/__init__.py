"""What goes wrong between a heart and a gateway: electrodes, the device's clock, its battery, the radio."""
