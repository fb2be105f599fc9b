"""Bytes that real devices sent, as published, and what their owners saw; none is made by code of this project."""

POLAR_H7 = bytes.fromhex("16 3c 11 04")
"""Heart rate of a Polar H7, read with gatttool (github.com/cal-id/Polar-H7-Pi, README)."""
POLAR_H7_NO_RR = bytes.fromhex("06 3c")
MOVISENS = bytes.fromhex("16485401EC02")
"""Heart rate 72, worn, RR .33203125 and .73046875 s (github.com/movisens/SmartGattLib, HeartRateMeasurementTest)."""
UNBRANDED_STRAP = bytes.fromhex("16 34 e4 04")
"""A chest strap, read with gatttool (stackoverflow.com, question 60599696)."""

CHOICEMMED_SPOT = bytes.fromhex("17 61 00 60 00 E1 07 01 01 01 22 13 20 00 20 00 00")
"""A ChoiceMMed oximeter through nRF Connect: SpO2 97, pulse 96 (stackoverflow.com, question 71264072)."""
CHOICEMMED_CONTINUOUS = bytes.fromhex("0c 62 00 4E 00 20 00 00 00 00")
"""The same oximeter: SpO2 98, pulse 78."""

THERMOMETER = (
    (36.0, bytes.fromhex("06 68 01 00 FF E2 07 03 0A 15 34 00 02")),
    (36.2, bytes.fromhex("06 6A 01 00 FF E2 07 03 0A 14 14 00 02")),
    (36.8, bytes.fromhex("06 70 01 00 FF E2 07 03 0A 14 1B 00 02")),
    (34.6, bytes.fromhex("06 5A 01 00 FF E2 07 03 0A 14 1F 00 02")),
)
"""A thermometer and what its display said (stackoverflow.com, answer 54834439)."""
THERMOMETER_HUNDREDTHS = (
    (37.60, bytes.fromhex("06B00E00FEDC070C050B092704")),
    (39.40, bytes.fromhex("06640F00FEDC070C050B0B3604")),
)
"""A thermometer that counts hundredths, as logged (b4x.com, thread 64232)."""

CUFF = bytes.fromhex("DE F6 F4 16 F3 FF 07 E4 07 01 14 08 2B 00 B2 F2 01 80 00")
"""A cuff: nRF Connect shows 127.0 mmHg systolic (stackoverflow.com, answer 78168365)."""
CUFF_IRREGULAR = bytes([222, 136, 244, 32, 243, 255, 7, 228, 7, 1, 19, 22, 55, 0, 188, 242, 1, 68, 1])
"""The same cuff later, irregular pulse detected (stackoverflow.com, answer 78176577)."""

POLAR_START = bytes.fromhex("02000001820001010e00")
POLAR_STARTED = bytes.fromhex("f0 02 00 00 00 00")
POLAR_REFUSED = bytes.fromhex("f0 02 00 05 00")
POLAR_SETTINGS = bytes.fromhex("f0 01 00 00 00 00 01 82 00 01 01 0e 00")
"""Control point of a Polar H10 with gatttool (github.com/phdiethelm/h10_ecg, exploration/gatttool.md)."""
POLAR_ECG = (
    bytes.fromhex(
        "00 91 f7 70 aa 30 49 52 08 00 7a 00 00 67 00 00 83 00 00 ac 00 00 ac 00 00 a1 00 00 a5 00 00 a1 00 00 a8 00 00 "
        "ac 00 00 9a 00 00 91 00 00 75 00 00 32 00 00 df 00 00 94 03 00 39 07 00 b9 08 00 07 06 00 52 01 00 fa fe ff 64 "
        "ff ff ab ff ff 5f ff ff 7d ff ff a2 ff ff 8d ff ff 76 ff ff 64 ff ff 79 ff ff 9d ff ff a2 ff ff b0 ff ff c7 ff "
        "ff d5 ff ff ec ff ff f0 ff ff e7 ff ff ec ff ff ec ff ff ee ff ff fe ff ff fa ff ff f7 ff ff 00 00 00 f7 ff ff "
        "f7 ff ff 06 00 00 f7 ff ff d7 ff ff be ff ff ab ff ff a7 ff ff b7 ff ff c0 ff ff bb ff ff c9 ff ff dc ff ff dc "
        "ff ff ec ff ff fc ff ff f0 ff ff e7 ff ff e5 ff ff de ff ff d7 ff ff d9 ff ff d7 ff ff d0 ff ff d7 ff ff e5 ff "
        "ff ec ff ff ec ff ff"
    ),
    bytes.fromhex(
        "00 7c 3b de cb 30 49 52 08 00 ee ff ff f5 ff ff f5 ff ff f5 ff ff 00 00 00 02 00 00 e3 ff ff a0 ff ff 7b ff ff "
        "9b ff ff b9 ff ff be ff ff c7 ff ff ce ff ff c5 ff ff c9 ff ff d5 ff ff c2 ff ff b0 ff ff a9 ff ff 8d ff ff 80 "
        "ff ff 9b ff ff b0 ff ff b0 ff ff b7 ff ff cc ff ff dc ff ff dc ff ff e0 ff ff e9 ff ff e7 ff ff f3 ff ff 02 00 "
        "00 0b 00 00 0d 00 00 02 00 00 fe ff ff 1b 00 00 30 00 00 29 00 00 24 00 00 1b 00 00 10 00 00 1d 00 00 32 00 00 "
        "30 00 00 20 00 00 0d 00 00 00 00 00 0d 00 00 24 00 00 34 00 00 37 00 00 24 00 00 1b 00 00 32 00 00 47 00 00 4c "
        "00 00 4c 00 00 3e 00 00 20 00 00 f3 ff ff 09 00 00 39 01 00 0e 04 00 2d 07 00 40 07 00 2a 03 00 51 ff ff 13 ff "
        "ff b2 ff ff 3a ff ff"
    ),
)
"""Two notifications of its ECG, one after the other: 73 samples each."""

POLAR_SDK_HEADER = bytes.fromhex("00 00 94 35 77 00 00 00 00 00")
POLAR_SDK_SAMPLES = bytes.fromhex("02 80 FF 02 80 00")
"""Time stamp 2,000,000,000; samples -32766 and 32770 (github.com/polarofficial/polar-ble-sdk, EcgDataTest)."""
