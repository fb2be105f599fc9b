"""Databases that `vitalwire data fetch` knows: where they are, what one may do with them, whom to cite."""

from dataclasses import dataclass
from typing import Final

_PHYSIONET: Final = "https://physionet.org/files"
_GOLDBERGER: Final = "Goldberger et al., Circulation 101(23):e215, 2000"


@dataclass(frozen=True, slots=True)
class Database:
    """One database as PhysioNet lays it out: a folder with `SHA256SUMS.txt` that lists every file."""

    name: str
    title: str
    url: str
    licence: str
    citation: str


DATABASES: Final[dict[str, Database]] = {
    database.name: database
    for database in (
        Database(
            "mitdb",
            "MIT-BIH Arrhythmia Database (48 records of 30 min, every beat labelled, 100 MB)",
            f"{_PHYSIONET}/mitdb/1.0.0/",
            "ODC-By 1.0",
            f"Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001; {_GOLDBERGER}",
        ),
        Database(
            "nstdb",
            "MIT-BIH Noise Stress Test Database (baseline wander, muscle, electrode motion, 30 MB)",
            f"{_PHYSIONET}/nstdb/1.0.0/",
            "ODC-By 1.0",
            f"Moody, Muldrow & Mark, Computers in Cardiology 11:381-384, 1984; {_GOLDBERGER}",
        ),
        Database(
            "afdb",
            "MIT-BIH Atrial Fibrillation Database (25 records of 10 h, 600 MB)",
            f"{_PHYSIONET}/afdb/1.0.0/",
            "ODC-By 1.0",
            f"Moody & Mark, Computers in Cardiology 10:227-230, 1983; {_GOLDBERGER}",
        ),
        Database(
            "cudb",
            "CU Ventricular Tachyarrhythmia Database (35 records of 8 min, 10 MB)",
            f"{_PHYSIONET}/cudb/1.0.0/",
            "ODC-By 1.0",
            f"Nolle et al., Computers in Cardiology 13:515-518, 1986; {_GOLDBERGER}",
        ),
        Database(
            "vfdb",
            "MIT-BIH Malignant Ventricular Ectopy Database (22 records of 35 min, 35 MB)",
            f"{_PHYSIONET}/vfdb/1.0.0/",
            "ODC-By 1.0",
            f"Greenwald, MIT M.S. thesis, 1986; {_GOLDBERGER}",
        ),
        Database(
            "bidmc",
            "BIDMC PPG and Respiration Dataset (53 records of 8 min, 210 MB)",
            f"{_PHYSIONET}/bidmc/1.0.0/",
            "ODC-By 1.0",
            f"Pimentel et al., IEEE TBME 64(8):1914-1923, 2016; {_GOLDBERGER}",
        ),
        Database(
            "mimic4wdb",
            "MIMIC-IV Waveform Database (ICU monitors, 200 records, very large: name a --record)",
            f"{_PHYSIONET}/mimic4wdb/0.1.0/",
            "ODbL 1.0 (share-alike for derived databases)",
            f"Moody et al., MIMIC-IV Waveform Database 0.1.0, 2022, doi:10.13026/a2mw-f949; {_GOLDBERGER}",
        ),
    )
}
"""Every known database by name."""
