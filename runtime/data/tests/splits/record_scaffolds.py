"""Scaffolds as RDKit 2026.9 finds them (Bemis and Murcko, without stereochemistry), for molecules spelled in three ways.

    pip install rdkit; python record_scaffolds.py > scaffolds.tsv
"""

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

MOLECULES = """
aspirin CC(=O)Oc1ccccc1C(=O)O
paracetamol CC(=O)Nc1ccc(O)cc1
ibuprofen CC(C)Cc1ccc(cc1)C(C)C(=O)O
naproxen COc1ccc2cc(ccc2c1)[C@H](C)C(=O)O
caffeine Cn1cnc2c1c(=O)n(C)c(=O)n2C
theophylline Cn1c2c(c(=O)n(C)c1=O)[nH]cn2
adenine Nc1ncnc2[nH]cnc12
adenine_7h Nc1ncnc2nc[nH]c12
guanosine Nc1nc2c(ncn2[C@@H]2O[C@H](CO)[C@@H](O)[C@H]2O)c(=O)[nH]1
uracil O=c1cc[nH]c(=O)[nH]1
thymine Cc1c[nH]c(=O)[nH]c1=O
nicotine CN1CCC[C@H]1c1cccnc1
diazepam CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc12
penicillin_g CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O
morphine CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5
codeine COc1ccc2C[C@H]3N(C)CC[C@@]45[C@@H](Oc1c24)[C@@H](O)C=C[C@@H]35
cholesterol CC(C)CCC[C@@H](C)[C@H]1CC[C@H]2[C@@H]3CC=C4C[C@@H](O)CC[C@]4(C)[C@H]3CC[C@]12C
testosterone C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O
imatinib Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(n1)-c1cccnc1
sildenafil CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1
warfarin CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O
omeprazole COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C
atorvastatin CC(C)c1c(C(=O)Nc2ccccc2)c(-c2ccccc2)c(-c2ccc(F)cc2)n1CC[C@@H](O)C[C@@H](O)CC(=O)O
minoxidil Nc1cc(nc(N)[n+]1[O-])N1CCCCC1
minoxidil_five_bonds Nc1cc(nc(N)n1=O)N1CCCCC1
benzene c1ccccc1
toluene Cc1ccccc1
pyridine c1ccncc1
pyridinium C[n+]1ccccc1
pyridone O=c1cccc[nH]1
hydroxypyridine Oc1ccccn1
furan c1ccoc1
thiophene Cc1cccs1
selenophene c1cc[se]c1
thiophene_oxide O=S1C=CC=C1
imidazole Cc1c[nH]cn1
naphthalene Clc1cccc2ccccc12
azulene Cc1ccc2cccccc12
biphenyl Clc1ccc(cc1)-c1ccccc1
biphenyl_unwritten Clc1ccc(cc1)c1ccccc1
biphenylene c1ccc2c(c1)c1ccccc21
fluorene C1c2ccccc2-c2ccccc12
anthracene c1ccc2cc3ccccc3cc2c1
pyrene c1cc2ccc3cccc4ccc(c1)c2c34
quinone O=C1C=CC(=O)C=C1
anthraquinone O=C1c2ccccc2C(=O)c2ccccc12
fulvene C=C1C=CC=C1
cyclopentadienide [CH-]1C=CC=C1
tropylium [CH+]1C=CC=CC=C1
cyclooctatetraene C1=CC=CC=CC=C1
decalin C1CCC2CCCCC2C1
bicyclopentyl C1CCC(C1)C1CCCC1
spirodecane C1CCC2(CC1)CCCC2
adamantane C1C2CC3CC1CC(C2)C3
cubane C12C3C4C1C5C2C3C45
norbornane C1CC2CCC1C2
cyclohexane CC1CCCCC1
cyclohexanone O=C1CCCCC1
methylenecyclohexane C=C1CCCCC1
ethylidenecyclohexane CC=C1CCCCC1
stilbene C(=C/c1ccccc1)\\c1ccccc1
dihydrostilbene C(Cc1ccccc1)c1ccccc1
tolane C(#Cc1ccccc1)c1ccccc1
benzophenone O=C(c1ccccc1)c1ccccc1
benzhydrol OC(c1ccccc1)c1ccccc1
diphenyl_sulfone O=S(=O)(c1ccccc1)c1ccccc1
hexaphenylbenzene c1ccc(cc1)-c1c(-c2ccccc2)c(-c2ccccc2)c(-c2ccccc2)c(-c2ccccc2)c1-c1ccccc1
crown C1COCCOCCOCCOCCOCCO1
porphin c1cc2cc3ccc(cc4ccc(cc5ccc(cc1n2)[nH]5)n4)[nH]3
borazine B1NBNBN1
silole C[Si]1(C)C=CC=C1
deuterobenzene [2H]c1ccccc1
labelled c1cc[13cH]cc1
salt [Na+].OC(=O)c1ccccc1
two_rings Oc1ccccc1.C1CCNCC1
ethanol CCO
glycine NCC(=O)O
lithium [Li+].[Cl-]
"""


def main():
    rdBase.DisableLog("rdApp.*")
    for line in MOLECULES.strip().splitlines():
        name, smiles = line.split(" ")
        molecule = Chem.MolFromSmiles(smiles)
        kekule = Chem.Mol(molecule)
        Chem.Kekulize(kekule, clearAromaticFlags=True)
        spellings = [smiles, Chem.MolToSmiles(kekule, kekuleSmiles=True), Chem.MolToSmiles(molecule)]
        scaffold = MurckoScaffoldSmiles(mol=molecule, includeChirality=False)
        print("\t".join([name, *spellings, scaffold]))


main()
