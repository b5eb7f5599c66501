"""Public datasets: `bidmc()` is a cohort, `bidmc.card` says what it is, `cards()` lists all.

    import latentphys as lp

    lp.datasets.cards()
    cohort = lp.datasets.bidmc(records=["bidmc01", "bidmc02"])

Open ones are downloaded once, every file checked against the SHA-256 that the archive publishes;
`mirror=` or LATENTPHYS_MIRROR names another place to take them from, `cache=` or LATENTPHYS_CACHE
where they are kept. Those behind an agreement tell how to get them and read a folder (`path=`).

Subjects are told as each set defines them (nights, visits and stays of one person are one
subject), so that a split by subject does not leak.
"""

from typing import TYPE_CHECKING

from latentphys.recordings.archives.card import Card
from latentphys.recordings.archives.dataset import HeldDataset, OpenDataset
from latentphys.recordings.archives.layout import Layout
from latentphys.recordings.archives.tables import (
    bidmc_details,
    cinc2016_details,
    eegmat_details,
    mitdb_details,
    ptbxl_details,
)

if TYPE_CHECKING:
    import pandas as pd

_ODC_BY = "ODC-By 1.0"


bidmc = OpenDataset(
    Card(
        name="bidmc",
        title="BIDMC PPG and Respiration Dataset",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=46,
        records=53,
        rates="ECG, PPG, respiration (some ABP, CVP) 125 Hz; HR, pulse, breathing rate, SpO2 1 Hz",
        labels="breaths by two annotators; age, sex, ward",
        size="about 35 MB",
        url="https://physionet.org/content/bidmc/1.0.0/",
        citation="Pimentel MAF et al. (2017). Toward a robust estimation of respiratory rate from "
        "pulse oximeters. IEEE Transactions on Biomedical Engineering 64(8):1914-1923.",
        note="several records share a subject",
    ),
    slug="bidmc",
    layout=Layout(
        r"(?P<record>bidmc\d\d)n?\.(hea|dat|breath)",
        tables=r"bidmc_csv/bidmc_\d\d_Fix\.txt",
        details=bidmc_details,
    ),
)

ludb = OpenDataset(
    Card(
        name="ludb",
        title="Lobachevsky University Electrocardiography Database",
        version="1.0.1",
        licence=_ODC_BY,
        subjects=200,
        records=200,
        rates="12-lead ECG 500 Hz, 10 s",
        labels="on- and offsets of P, QRS and T in each lead; findings as text; age, sex",
        size="about 30 MB",
        url="https://physionet.org/content/ludb/1.0.1/",
        citation="Kalyakulina AI et al. (2020). LUDB: a new open-access validation tool for "
        "electrocardiogram delineation algorithms. IEEE Access 8:186181-186190.",
        registry_sha256="cccef1f3529519db8f26a333c97a6872a7d0e3e5c64a1448b76b161fd87fb75f",
    ),
    slug="ludb",
    layout=Layout(r"(?P<record>data/\d+)\.\w+", tables=r"ludb\.csv"),
)

sleep_edf = OpenDataset(
    Card(
        name="sleep_edf",
        title="Sleep-EDF Database Expanded",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=100,
        records=197,
        rates="EEG (Fpz-Cz, Pz-Oz), EOG 100 Hz; EMG 1 Hz (cassette) or 100 Hz (telemetry); "
        "cassette: airflow, temperature 1 Hz",
        labels="sleep stages (Rechtschaffen and Kales) of each 30 s",
        size="about 8 GB",
        url="https://physionet.org/content/sleep-edfx/1.0.0/",
        citation="Kemp B et al. (2000). Analysis of a sleep-dependent neuronal feedback loop: the "
        "slow-wave microcontinuity of the EEG. IEEE Transactions on Biomedical Engineering "
        "47(9):1185-1194.",
        note="two nights of most subjects; subsets: cassette, telemetry",
        registry_sha256="1bc88e19e2e921f7851d7cf61e31ceb8f6d670211ca546a323e9db5a77525edf",
    ),
    slug="sleep-edfx",
    layout=Layout(
        r"(?P<record>sleep-\w+/S[CT]\d{4}[A-Z])(0-PSG|[A-Z]-Hypnogram)\.edf",
        main="0-PSG.edf",
        subsets={"cassette": "sleep-cassette/", "telemetry": "sleep-telemetry/"},
        subject=r"S[CT]\d{3}",  # SC4ssN: person ss, night N
    ),
)

cinc2016 = OpenDataset(
    Card(
        name="cinc2016",
        title="Classification of Heart Sound Recordings: the PhysioNet/CinC Challenge 2016",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=None,
        records=3240,
        rates="heart sound (PCG) 2000 Hz; training-a: ECG beside it",
        labels="normal or abnormal",
        size="about 0.4 GB",
        url="https://physionet.org/content/challenge-2016/1.0.0/",
        citation="Liu C et al. (2016). An open access database for the evaluation of heart sound "
        "algorithms. Physiological Measurement 37(12):2181-2213.",
        note="which recordings share a subject is not told; subsets: training-a to training-f "
        "(one source each), validation (copies out of the training sets, only if asked for)",
    ),
    slug="challenge-2016",
    layout=Layout(
        r"(?P<record>(training-[a-f]|validation)/[a-f]\d{4,5})\.(hea|dat|wav)",
        tables=r"training-[a-f]/REFERENCE\.csv",
        subsets={name: f"{name}/" for name in (*(f"training-{c}" for c in "abcdef"), "validation")},
        default=tuple(f"training-{c}" for c in "abcdef"),
        details=cinc2016_details,
    ),
)

ptbxl = OpenDataset(
    Card(
        name="ptbxl",
        title="PTB-XL, a large publicly available electrocardiography dataset",
        version="1.0.3",
        licence="CC BY 4.0",
        subjects=18869,
        records=21799,
        rates="12-lead ECG 500 Hz (or the same at 100 Hz), 10 s",
        labels="report as text (mostly German), SCP-ECG statements, age, sex, ten folds",
        size="2.6 GB at 500 Hz, 0.5 GB at 100 Hz",
        url="https://physionet.org/content/ptb-xl/1.0.3/",
        citation="Wagner P et al. (2020). PTB-XL, a large publicly available electrocardiography "
        "dataset. Scientific Data 7:154.",
        note="several records share a subject; subsets: 500hz (taken if none is named), 100hz",
    ),
    slug="ptb-xl",
    layout=Layout(
        r"(?P<record>records[15]00/\d{5}/\d{5}_[hl]r)\.(hea|dat)",
        tables=r"(ptbxl_database|scp_statements)\.csv",
        subsets={"500hz": "records500/", "100hz": "records100/"},
        default=("500hz",),
        details=ptbxl_details,
    ),
)

cinc2018 = OpenDataset(
    Card(
        name="cinc2018",
        title="You Snooze You Win: the PhysioNet/CinC Challenge 2018",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=1983,
        records=1983,
        rates="six EEG, EOG, EMG, ECG, chest and abdomen effort, airflow, SaO2: all 200 Hz",
        labels="training: sleep stages, arousals, breathing events",
        size="about 140 MB a night; 994 nights of training, 989 of test",
        url="https://physionet.org/content/challenge-2018/1.0.0/",
        citation="Ghassemi MM et al. (2018). You Snooze, You Win: the PhysioNet/Computing in "
        "Cardiology Challenge 2018. Computing in Cardiology 45.",
        note="subsets: training (taken if none is named), test; name a few records first",
    ),
    slug="challenge-2018",
    layout=Layout(
        r"(?P<record>(training|test)/(t[re]\d\d-\d{4})/\3)\.(hea|mat|arousal)",
        subsets={"training": "training/", "test": "test/"},
        default=("training",),
    ),
)

slpdb = OpenDataset(
    Card(
        name="slpdb",
        title="MIT-BIH Polysomnographic Database",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=16,
        records=18,
        rates="ECG, blood pressure, EEG, respiration (some EOG, EMG, SaO2): all 250 Hz",
        labels="sleep stages and apnoea of each 30 s; beats",
        size="632 MB",
        url="https://physionet.org/content/slpdb/1.0.0/",
        citation="Ichimaru Y, Moody GB (1999). Development of the polysomnographic database on "
        "CD-ROM. Psychiatry and Clinical Neurosciences 53:175-177.",
        note="slp01a and slp01b are of one person, slp02a and slp02b of another",
        registry_sha256="c07dc13222cbf509d0efc8b598b31b69b71357141f97562ddc97ade72341a7ac",
    ),
    slug="slpdb",
    layout=Layout(r"(?P<record>slp\d\d[abx]?)\.(hea|dat|ecg|st)"),
)

eegmat = OpenDataset(
    Card(
        name="eegmat",
        title="EEG During Mental Arithmetic Tasks",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=36,
        records=72,
        rates="19 EEG channels, ECG: 500 Hz",
        labels="rest or mental arithmetic; age, sex, quality of counting",
        size="about 180 MB",
        url="https://physionet.org/content/eegmat/1.0.0/",
        citation="Zyma I et al. (2019). Electroencephalograms during mental arithmetic task "
        "performance. Data 4(1):14.",
        note="two records of each subject: 1 at rest, 2 counting",
    ),
    slug="eegmat",
    layout=Layout(
        r"(?P<record>Subject\d\d_[12])\.edf",
        main=".edf",
        tables=r"subject-info\.csv",
        subject=r"Subject\d\d",
        details=eegmat_details,
    ),
)

mitdb = OpenDataset(
    Card(
        name="mitdb",
        title="MIT-BIH Arrhythmia Database",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=47,
        records=48,
        rates="two ECG leads 360 Hz, 30 min",
        labels="beats and rhythms; age, sex, medication as text",
        size="about 100 MB",
        url="https://physionet.org/content/mitdb/1.0.0/",
        citation="Moody GB, Mark RG (2001). The impact of the MIT-BIH Arrhythmia Database. IEEE "
        "Engineering in Medicine and Biology 20(3):45-50.",
        note="201 and 202 are of one person",
    ),
    slug="mitdb",
    layout=Layout(r"(?P<record>\d{3})\.(hea|dat|atr)", details=mitdb_details),
)

physionet2012 = OpenDataset(
    Card(
        name="physionet2012",
        title="Predicting Mortality of ICU Patients: the PhysioNet/CinC Challenge 2012",
        version="1.0.0",
        licence=_ODC_BY,
        subjects=12000,
        records=12000,
        rates="up to 37 vital signs and laboratory values in 48 h, at irregular times",
        labels="death in hospital, length of stay, SAPS-I, SOFA",
        size="about 20 MB",
        url="https://physionet.org/content/challenge-2012/1.0.0/",
        citation="Silva I et al. (2012). Predicting in-hospital mortality of ICU patients: the "
        "PhysioNet/Computing in Cardiology Challenge 2012. Computing in Cardiology 39:245-248.",
        note="three archives of 4,000 stays: records= takes set-a, set-b, set-c",
    ),
    slug="challenge-2012",
    layout=Layout(
        r"(?P<record>set-[abc])\.tar\.gz",
        main=".tar.gz",
        tables=r"Outcomes-[abc]\.txt",
    ),
)


def _sleepdata(slug: str) -> tuple[str, ...]:
    return (
        "Make an account at https://sleepdata.org.",
        f"Ask for the data at https://sleepdata.org/datasets/{slug} (Request Data Access), and "
        "wait for the approval; it takes some days.",
        f"With the token of https://sleepdata.org/token and the nsrr tool, type: nsrr download "
        f"{slug}/polysomnography/edfs",
        f"The same with {slug}/polysomnography/annotations-events-nsrr, for stages and events.",
    )


mesa = HeldDataset(
    Card(
        name="mesa",
        title="Multi-Ethnic Study of Atherosclerosis, sleep examination",
        version="(any)",
        licence="National Sleep Research Resource data use agreement",
        subjects=2056,
        records=2056,
        rates="EEG, EOG, EMG, ECG, PPG 256 Hz; effort, airflow 32 Hz; SpO2, HR 1 Hz",
        labels="sleep stages, breathing events, arousals; age, sex, clinical data",
        size="385 GB",
        url="https://sleepdata.org/datasets/mesa",
        citation="Chen X et al. (2015). Racial/ethnic differences in sleep disturbances: the "
        "Multi-Ethnic Study of Atherosclerosis. Sleep 38(6):877-888. Zhang GQ et al. (2018). The "
        "National Sleep Research Resource: towards a sleep data commons. JAMIA 25(10):1351-1358.",
    ),
    steps=_sleepdata("mesa"),
    layout=Layout(r"(?P<record>(.*/)?mesa-sleep-\d{4})\.edf", main=".edf"),
)

shhs = HeldDataset(
    Card(
        name="shhs",
        title="Sleep Heart Health Study",
        version="(any)",
        licence="National Sleep Research Resource data use agreement",
        subjects=5793,
        records=8444,
        rates="EEG 125 Hz, EOG 50 Hz, EMG 125 Hz, ECG 125 or 250 Hz; effort, airflow 10 Hz; "
        "SaO2, HR 1 Hz",
        labels="sleep stages, breathing events, arousals; age, sex, cardiovascular outcome",
        size="356 GB",
        url="https://sleepdata.org/datasets/shhs",
        citation="Quan SF et al. (1997). The Sleep Heart Health Study: design, rationale, and "
        "methods. Sleep 20(12):1077-1085. Zhang GQ et al. (2018). The National Sleep Research "
        "Resource: towards a sleep data commons. JAMIA 25(10):1351-1358.",
        note="most subjects of the second visit are in the first; records= takes names",
    ),
    steps=_sleepdata("shhs"),
    layout=Layout(r"(?P<record>(.*/)?shhs[12]-\d{6})\.edf", main=".edf", subject=r"(?<=-)\d{6}"),
)

mimic = HeldDataset(
    Card(
        name="mimic",
        title="MIMIC-III Waveform Database Matched Subset",
        version="1.0",
        licence="waveforms ODbL 1.0; clinical tables by agreement",
        subjects=10282,
        records=22317,
        rates="ECG, ABP, PPG, respiration 125 Hz; HR, SpO2, pressures at 1 Hz or each minute",
        labels="none without the clinical tables (MIMIC-III)",
        size="2.4 TB",
        url="https://physionet.org/content/mimic3wdb-matched/1.0/",
        citation="Moody B et al. (2020). MIMIC-III Waveform Database Matched Subset (version 1.0). "
        "PhysioNet. Johnson AEW et al. (2016). MIMIC-III, a freely accessible critical care "
        "database. Scientific Data 3:160035.",
        note="several records share a subject",
    ),
    steps=(
        "The waveforms are open, but too many to take whole. Choose patients from RECORDS at "
        "https://physionet.org/files/mimic3wdb-matched/1.0/RECORDS.",
        "Take the folder of each, for instance with: wget -r -N -c -np -nH --cut-dirs=3 "
        "https://physionet.org/files/mimic3wdb-matched/1.0/p00/p000020/",
        "For age, diagnoses and outcome: a credentialed PhysioNet account, its training in human "
        "research, and the data use agreement of https://physionet.org/content/mimiciii/.",
    ),
    layout=Layout(r"(?P<record>(.*/)?p\d{6}(-\d+){5})n?\.hea", subject=r"p\d{6}"),
)

_ALL = (
    bidmc,
    ludb,
    sleep_edf,
    cinc2016,
    ptbxl,
    cinc2018,
    slpdb,
    eegmat,
    mitdb,
    physionet2012,
    mesa,
    shhs,
    mimic,
)


def cards() -> "pd.DataFrame":
    """What every dataset is, one row each, by the name under which it is called.

    Example:
        >>> cards().loc["bidmc", ["access", "licence", "version"]].tolist()
        ['open', 'ODC-By 1.0', '1.0.0']
    """
    import pandas as pd

    table = pd.DataFrame([_row(dataset) for dataset in _ALL]).set_index("name")
    return table.astype({"subjects": "Int64"})


def _row(dataset: OpenDataset | HeldDataset) -> dict[str, object]:
    card = dataset.card
    return {
        "name": card.name,
        "access": "open" if isinstance(dataset, OpenDataset) else "by hand",
        "subjects": card.subjects,
        "records": card.records,
        "signals": card.rates,
        "labels": card.labels,
        "size": card.size,
        "licence": card.licence,
        "version": card.version,
        "title": card.title,
        "url": card.url,
    }
