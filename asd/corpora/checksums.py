"""The md5s of archives that are known beforehand, by corpus and name; soundata's loaders' ones.

Those of DCASE 2020 stand in `download.py`, beside the archives of MLPerf Tiny.
"""

# fmt: off
_2023 = """
dev_bearing                8a813bc8d8f156b5395bfccdfac7673c
dev_fan                    9348591e96fb0ad499a1e33b082562fc
dev_gearbox                b6e55f6a31faa0fc8569ec0afdd53ccf
dev_slider                 b3f8dee36b4718c36d659a4fd1c4afe0
dev_ToyCar                 4e3bf15f4101ed4ed4f1fecde2e2b2a3
dev_ToyTrain               6b02a6c65eebb3b8b1ae59a6b25bb897
dev_valve                  b2051a2022eadb53cd97581120811cae
eval_data_bandsaw_train    9274dfe63de028743823f1123f8b4b47
eval_data_grinder_train    17569c1f9df23621a0dbabc430684a35
eval_data_shaker_train     35f821b5645b731fb5a1750e33b95fc3
eval_data_ToyDrone_train   7fea367d1384a1521ae24f72203238de
eval_data_ToyNscale_train  9332822f3e47afd984c01f2ecb5ca3af
eval_data_ToyTank_train    b1fd3ab7de7561290df2d477de1c9d33
eval_data_Vacuum_train     1c8de33d9a8c7850a1f7aaddb97d87be
eval_data_bandsaw_test     2a8e8f39f6584ab366a8f4da52d4d7a6
eval_data_grinder_test     631b3e1608b6077772829a6e68c82c77
eval_data_shaker_test      ba98c98caa96051ec80e24e44b8fca56
eval_data_ToyDrone_test    fdae7b8d1f4cadb2bea88bc93e2367db
eval_data_ToyNscale_test   62f5f5043d8fb3a305b1c2e1025872de
eval_data_ToyTank_test     f5639bf58c47169c622751f19c6fc321
eval_data_Vacuum_test      a32524fd8c45b574a560685b38acc4e1
"""
# fmt: on

# By corpus, and by an archive's name without `.zip`.
MD5S: dict[str, dict[str, str]] = {
    "dcase2023": dict(line.split() for line in _2023.strip().splitlines())
}
