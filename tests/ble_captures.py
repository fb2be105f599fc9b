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
        "0091f770aa30495208007a0000670000830000ac0000ac0000a10000a50000a10000a80000"
        "ac00009a0000910000750000320000df0000940300390700b90800070600520100fafeff64"
        "ffffabffff5fffff7dffffa2ffff8dffff76ffff64ffff79ffff9dffffa2ffffb0ffffc7ff"
        "ffd5ffffecfffff0ffffe7ffffecffffecffffeefffffefffffafffff7ffff000000f7ffff"
        "f7ffff060000f7ffffd7ffffbeffffabffffa7ffffb7ffffc0ffffbbffffc9ffffdcffffdc"
        "ffffecfffffcfffff0ffffe7ffffe5ffffdeffffd7ffffd9ffffd7ffffd0ffffd7ffffe5ff"
        "ffecffffecffff"
    ),
    bytes.fromhex(
        "007c3bdecb3049520800eefffff5fffff5fffff5ffff000000020000e3ffffa0ffff7bffff"
        "9bffffb9ffffbeffffc7ffffceffffc5ffffc9ffffd5ffffc2ffffb0ffffa9ffff8dffff80"
        "ffff9bffffb0ffffb0ffffb7ffffccffffdcffffdcffffe0ffffe9ffffe7fffff3ffff0200"
        "000b00000d0000020000feffff1b00003000002900002400001b00001000001d0000320000"
        "3000002000000d00000000000d00002400003400003700002400001b00003200004700004c"
        "00004c00003e0000200000f3ffff0900003901000e04002d07004007002a030051ffff13ff"
        "ffb2ffff3affff"
    ),
)
"""Two notifications of its ECG, one after the other: 73 samples each."""

POLAR_SDK_HEADER = bytes.fromhex("00 00 94 35 77 00 00 00 00 00")
POLAR_SDK_SAMPLES = bytes.fromhex("02 80 FF 02 80 00")
"""Time stamp 2,000,000,000; samples -32766 and 32770 (github.com/polarofficial/polar-ble-sdk, EcgDataTest)."""
